"""The model that answers: any causal or encoder-decoder model of a folder, greedy, within a token budget.

A model with a chat template is asked in its template: evidence, then the question, as one
user's turn (the form in which instruction tuning shows facts here). One without is given
`Question: … Answer:` to continue.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_core.errors import UserError


class Reader:
    """A model and its tokenizer. Raises UserError if `folder` contains none that writes text."""

    def __init__(self, folder: Path, prompt_tokens: int, answer_tokens: int) -> None:
        from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        if not (folder / "config.json").is_file():
            raise UserError(f"{folder}: holds no model (no config.json)")
        config = AutoConfig.from_pretrained(folder)
        if config.model_type == "bert":
            raise UserError(f"{folder}: a bert model does not write text")
        self.seq2seq = bool(config.is_encoder_decoder)
        self.model: Any = (AutoModelForSeq2SeqLM if self.seq2seq else AutoModelForCausalLM).from_pretrained(folder)
        self.model.eval()
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        window = getattr(config, "max_position_embeddings", None) or prompt_tokens + answer_tokens
        self.prompt_tokens = min(prompt_tokens, window - answer_tokens)
        self.answer_tokens = answer_tokens

    def prompt(self, question: str, evidence: Sequence[str]) -> tuple[list[int], int]:
        """Token ids of the prompt, and how many of `evidence` (best first) it holds.

        Whole pieces of evidence are left out from the end until the prompt keeps the budget.
        Raises UserError if the question alone exceeds it.
        """
        for count in range(len(evidence), -1, -1):
            ids = self._ids(question, list(evidence[:count]))
            if len(ids) <= self.prompt_tokens:
                return ids, count
        raise UserError(f"the question has more than the {self.prompt_tokens} tokens of retrieval.prompt_tokens")

    def encode(self, text: str, chat: bool) -> list[int]:
        """Token ids of `text`; with `chat` as one user's turn where the model has a template.

        Raises UserError if they exceed the budget.
        """
        ids = self._ids(text, []) if chat and self.tokenizer.chat_template else self._plain(text)
        if len(ids) > self.prompt_tokens:
            raise UserError(f"the prompt has {len(ids)} tokens, the model may be given {self.prompt_tokens}")
        return ids

    def __call__(self, prompts: Sequence[list[int]]) -> list[str]:
        """The model's answers to `prompts` (token ids), one at a time: padding changes no answer."""
        import torch

        answers = []
        for ids in prompts:
            inputs = torch.tensor([ids])
            with torch.inference_mode():
                written = self.model.generate(
                    inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=self.answer_tokens, do_sample=False,
                    pad_token_id=self.tokenizer.pad_token_id, eos_token_id=self.tokenizer.eos_token_id,
                )[0]  # fmt: skip
            text = self.tokenizer.decode(written if self.seq2seq else written[len(ids) :], skip_special_tokens=True)
            answers.append(text.strip() if self.tokenizer.chat_template else text.strip().split("\n")[0])
        return answers

    def _ids(self, question: str, evidence: list[str]) -> list[int]:
        content = "\n".join([*evidence, question])
        if self.tokenizer.chat_template:
            turns = [{"role": "user", "content": content}]
            found = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)
            return list(found["input_ids"])
        context = "\n".join(evidence)
        text = f"{context}\n\nQuestion: {question}\nAnswer:" if context else f"Question: {question}\nAnswer:"
        return self._plain(text)

    def _plain(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=not self.tokenizer.chat_template)["input_ids"])
