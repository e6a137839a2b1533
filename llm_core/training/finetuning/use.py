"""Using a finetuned model: label a text with its confidence, translate or summarize it, and talk with streaming."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.models import generation, loading
from llm_core.models.generation import Decoding
from llm_core.models.loading import LoadedModel
from llm_core.models.prompts import encode_chat
from llm_core.training.finetuning.conversation import load_tokenizer, prompt_ids


def classify(folder: Path, texts: list[str]) -> list[dict[str, Any]]:
    """`text, label, confidence` and all `probabilities` by label; confidences are calibrated where the model is."""
    from llm_core.training.finetuning.calibration import predict, softmax
    from llm_core.training.finetuning.conversation import encode_text as encode_row

    loaded = loading.load(folder, "classification")
    model, config, tokenizer = loaded.network, loaded.network.config, load_tokenizer(str(folder), chat=False)
    limit = loaded.context or 512
    ends = loaded.kind == "encoder-decoder"
    rows = [{"input_ids": encode_row(tokenizer, text, limit, ends)[0]} for text in texts]
    logits = predict(model, rows, tokenizer.pad_token_id) / getattr(config, "classification_temperature", 1.0)
    answers = []
    for text, row in zip(texts, softmax(logits), strict=True):
        odds = {config.id2label[number]: float(share) for number, share in enumerate(row)}
        label = max(odds, key=lambda name: odds[name])
        answers.append({"text": text, "label": label, "confidence": odds[label], "probabilities": odds})
    return answers


def rewrite(folder: Path, texts: list[str], max_new_tokens: int = 128) -> list[str]:
    """What a model of translation or summarization writes for each text, asked as its training asked.

    Raises UserError for a model that neither method made.
    """
    from llm_core.training.finetuning.sequence_to_sequence import question

    config = loading.read_config(folder)
    prompt = getattr(config, "source_prompt", None)
    if prompt is None:
        raise UserError(
            f"{folder}: was made by neither translation nor summarization (its config has no source_prompt); "
            "`llm-core finetune translation` makes such a model, `llm-core generate` takes any other language model"
        )
    loaded = LoadedModel.of(loading.load_network(folder), load_tokenizer(str(folder)))
    asked = [question(loaded.tokenizer, text, prompt, config.source_tokens) for text in texts]
    prompts = [prompt_ids(loaded.tokenizer, messages, loaded.kind) for messages in asked]
    return [one.text.strip() for one in generation.generate(loaded, prompts, Decoding(max_new_tokens))]


class Chat:
    """A conversation with a model; it remembers what was said, as far as the model's context reaches."""

    def __init__(
        self, folder: Path, system: str | None = None, temperature: float = 0.0, max_new_tokens: int = 128
    ) -> None:
        self.tokenizer = load_tokenizer(str(folder))
        self.model = LoadedModel.of(loading.load_network(folder), self.tokenizer)
        self.how = Decoding(max_new_tokens, temperature)
        self.context = self.model.context or 1 << 20
        self.messages = [{"role": "system", "content": system}] if system else []

    def say(self, text: str) -> Iterator[str]:
        """Add the user's message and stream the answer in pieces."""
        self.messages.append({"role": "user", "content": text})
        answer = ""
        try:
            for piece in generation.stream(self.model, self._prompt(), self.how):
                answer += piece
                yield piece
        except BaseException:
            self.messages.pop()  # a question without an answer is no part of the conversation
            raise
        self.messages.append({"role": "assistant", "content": answer.strip()})

    def _prompt(self) -> list[int]:
        """Ids of the conversation; its oldest turns leave where it would not fit."""
        if self.model.kind == "encoder-decoder":
            return prompt_ids(self.tokenizer, self.messages[-1:], "encoder-decoder")
        first = 1 if self.messages[0]["role"] == "system" else 0
        while len(ids := encode_chat(self.tokenizer, self.messages)) + self.how.max_new_tokens > self.context:
            if len(self.messages) <= first + 1:
                raise UserError(
                    f"the message is {len(ids)} tokens long; with {self.how.max_new_tokens} to answer it exceeds the "
                    f"context of {self.context}"
                )
            del self.messages[first : first + 2]
        return ids
