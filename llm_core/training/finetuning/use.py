"""Using a finetuned model: label a text with its confidence, and talk with streaming."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.training.finetuning.conversation import load_tokenizer
from llm_core.training.finetuning.model_kinds import kind_of, read_config
from llm_core.training.finetuning.models import load


def classify(folder: Path, texts: list[str]) -> list[dict[str, Any]]:
    """`text, label, confidence` and all `probabilities` by label; confidences are calibrated where the model is."""
    from llm_core.training.finetuning.classification import encode_text, predict, softmax

    config = read_config(folder)
    if not any("SequenceClassification" in name for name in config.architectures or []) or config.num_labels < 2:
        raise UserError(
            f"{folder}: is no classifier ({', '.join(config.architectures or ['?'])}); make one with "
            f"finetune classification"
        )
    model = load(folder, "classification", kind_of(config))
    tokenizer = load_tokenizer(str(folder), chat=False)
    limit = getattr(config, "max_position_embeddings", None) or 512
    ends = kind_of(config) == "encoder-decoder"
    rows = [{"input_ids": encode_text(tokenizer, text, limit, ends)[0]} for text in texts]
    logits = predict(model, rows, tokenizer.pad_token_id) / getattr(config, "classification_temperature", 1.0)
    answers = []
    for text, row in zip(texts, softmax(logits), strict=True):
        odds = {config.id2label[number]: float(share) for number, share in enumerate(row)}
        label = max(odds, key=lambda name: odds[name])
        answers.append({"text": text, "label": label, "confidence": odds[label], "probabilities": odds})
    return answers


class Chat:
    """A conversation with a model; it remembers what was said, as far as the model's context reaches."""

    def __init__(
        self, folder: Path, system: str | None = None, temperature: float = 0.0, max_new_tokens: int = 128
    ) -> None:
        config = read_config(folder)
        kind = kind_of(config)
        if kind == "encoder" or any("SequenceClassification" in name for name in config.architectures or []):
            raise UserError(f"{folder}: {config.model_type} here does not generate text, so it cannot chat")
        self.model = load(folder, "generation", kind).eval()
        self.tokenizer = load_tokenizer(str(folder))
        self.kind, self.temperature, self.max_new_tokens = kind, temperature, max_new_tokens
        self.context = getattr(config, "max_position_embeddings", None) or 1024
        self.messages = [{"role": "system", "content": system}] if system else []

    def say(self, text: str) -> Iterator[str]:
        """Add the user's message and stream the answer in pieces."""
        from threading import Thread

        import torch
        from transformers import TextIteratorStreamer

        self.messages.append({"role": "user", "content": text})
        ids = self._prompt()
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=self.kind == "decoder", skip_special_tokens=True)
        drawn = {"do_sample": True, "temperature": self.temperature} if self.temperature else {"do_sample": False}
        worker = Thread(
            target=self.model.generate,
            kwargs={
                "input_ids": torch.tensor([ids]),
                "attention_mask": torch.ones(1, len(ids), dtype=torch.long),
                "streamer": streamer,
                "max_new_tokens": self.max_new_tokens,
                "pad_token_id": self.tokenizer.pad_token_id,
                "eos_token_id": self.tokenizer.eos_token_id,
                **drawn,
            },
            daemon=True,
        )
        worker.start()
        answer = ""
        for piece in streamer:
            answer += piece
            yield piece
        worker.join()
        self.messages.append({"role": "assistant", "content": answer.strip()})

    def _prompt(self) -> list[int]:
        """Ids of the conversation; its oldest turns leave where it would not fit."""
        from llm_core.training.finetuning.conversation import prompt_ids

        if self.kind == "encoder-decoder":
            return list(self.tokenizer(self.messages[-1]["content"])["input_ids"])
        first = 1 if self.messages[0]["role"] == "system" else 0
        while len(ids := prompt_ids(self.tokenizer, self.messages)) + self.max_new_tokens > self.context:
            if len(self.messages) <= first + 1:
                raise UserError(
                    f"the message is {len(ids)} tokens long; with {self.max_new_tokens} to answer it exceeds the "
                    f"context of {self.context}"
                )
            del self.messages[first : first + 2]
        return ids
