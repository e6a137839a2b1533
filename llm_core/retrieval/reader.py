"""The model that answers: any causal or encoder-decoder model of a folder, greedy, within a token budget.

A model with a chat template is asked in its template: evidence, then the question, as one
user's turn (the form in which instruction tuning presents facts here). A model without one
continues `Question: … Answer:`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from llm_core.errors import UserError
from llm_core.models.generation import Decoding, Generated, generate
from llm_core.models.loading import load
from llm_core.models.prompts import encode_rendered, encode_text, encode_turns
from llm_core.tracking import prompts

QUESTION = "Question: {{question}}\nAnswer:"
WITH_EVIDENCE = f"{{{{evidence}}}}\n\n{QUESTION}"
TURN = "{{evidence}}\n{{question}}"
"""what a model with a chat template is asked, as one user's turn"""


class Reader:
    """A model and its tokenizer. Raises UserError if `folder` contains no model that generates text."""

    def __init__(self, folder: Path, prompt_tokens: int, answer_tokens: int) -> None:
        self.loaded = load(folder)
        self.model, self.tokenizer = self.loaded.network, self.loaded.tokenizer
        window = self.loaded.context or prompt_tokens + answer_tokens
        if window <= answer_tokens:
            raise UserError(
                f"{folder}: the model's context has {window} tokens; {answer_tokens} answer tokens leave no room"
            )
        self.prompt_tokens, self.answer_tokens = min(prompt_tokens, window - answer_tokens), answer_tokens
        self._why = "retrieval.prompt_tokens"
        if self.prompt_tokens < prompt_tokens:
            self._why = f"the model's context of {window} less retrieval.answer_tokens, {answer_tokens}"

    def prompt(self, question: str, evidence: Sequence[str]) -> tuple[list[int], int]:
        """Token ids of the prompt, and the number of pieces of `evidence` (best first) in it.

        Whole pieces of evidence are left out from the end until the prompt fits the budget.
        Raises UserError if the question alone exceeds it.
        """
        for count in range(len(evidence), -1, -1):
            ids = self._ids(question, list(evidence[:count]))
            if len(ids) <= self.prompt_tokens:
                return ids, count
        raise UserError(f"the question has {len(ids)} tokens as a prompt, more than {self.prompt_tokens} ({self._why})")

    def encode(self, text: str, chat: bool) -> list[int]:
        """Token ids of `text`; with `chat` as one user's turn where the model has a template.

        Raises UserError if they exceed the budget.
        """
        if not self.tokenizer.chat_template:
            ids = self._plain(text)
        else:
            ids = self._ids(text, []) if chat else encode_rendered(self.tokenizer, text)
        if len(ids) > self.prompt_tokens:
            raise UserError(f"the prompt has {len(ids)} tokens, and the maximum is {self.prompt_tokens}")
        return ids

    def __call__(self, prompts: Sequence[list[int]]) -> list[str]:
        """The model's answers to `prompts` (token ids), one at a time, so that padding changes no answer."""
        texts = [one.text.strip() for one in self.write(prompts)]
        return texts if self.tokenizer.chat_template else [text.split("\n")[0] for text in texts]

    def write(self, prompts: Sequence[list[int]]) -> list[Generated]:
        """What the model writes behind each prompt."""
        return generate(self.loaded, prompts, Decoding(self.answer_tokens), batch_size=1)

    def _ids(self, question: str, evidence: list[str]) -> list[int]:
        context = "\n".join(evidence)
        if self.tokenizer.chat_template:
            content = _filled(TURN, context, question) if evidence else question
            return encode_turns(self.tokenizer, [{"role": "user", "content": content}], self.loaded.kind)
        return self._plain(_filled(WITH_EVIDENCE if context else QUESTION, context, question))

    @property
    def templates(self) -> dict[str, str]:
        """The templates by which the model is asked a question with evidence."""
        asked = TURN if self.tokenizer.chat_template else WITH_EVIDENCE
        return {"ask": asked} | prompts.of_tokenizer(self.tokenizer)

    def _plain(self, text: str) -> list[int]:
        return encode_text(self.tokenizer, text, special=not self.tokenizer.chat_template)


def _filled(template: str, evidence: str, question: str) -> str:
    values = {"evidence": evidence, "question": question}
    return re.sub(r"\{\{(\w+)\}\}", lambda name: values[name[1]], template)
