"""Using a finetuned model: labels, scores, choices and entities of texts, translations and summaries, talk."""

from collections.abc import Iterator
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.models import generation, loading
from llm_core.models.generation import Decoding
from llm_core.models.loading import LoadedModel
from llm_core.models.prompts import encode_chat
from llm_core.training.finetuning.conversation import load_tokenizer, prompt_ids
from llm_core.training.finetuning.registry import method


class Classifier:
    """A model with a head, loaded to classify; see `Method.answer`. Confidences are calibrated where the model is.

    Attributes: `columns`, how many columns a line of stdin has for it: 1, 2 for a pair, None for a question and any
    number of choices; `loaded`. Raises UserError where `folder` holds no such model.
    """

    def __init__(self, folder: Path, device: str | None = None) -> None:
        config = loading.read_config(folder)
        self.folder, self.name = folder, getattr(config, "finetuned_for", None) or "classification"
        known = method(self.name)
        if known.answer is None:
            raise UserError(f"{folder}: a model of {self.name} does not classify (use it with `llm-core {known.use}`)")
        self._answer, self._field = known.answer, "question" if "question" in known.fields else "text"
        pairs = "text_pair" in known.fields or getattr(config, "text_pairs", False)
        self.columns = None if "choices" in known.fields else 2 if pairs else 1
        architecture = (getattr(config, "architectures", None) or [""])[0]
        purpose: loading.Purpose = "choices" if architecture.endswith("MultipleChoice") else "classification"
        self.loaded = replace(
            loading.load(folder, purpose, device=device), tokenizer=load_tokenizer(str(folder), chat=False)
        )

    def __call__(
        self, texts: list[str], seconds: list[str] | None = None, choices: list[list[str]] | None = None
    ) -> list[dict[str, Any]]:
        """What the model says of each text.

        `seconds` are the second texts of a model of pairs, `choices` the answers to choose from for each text. Raises
        UserError where the model needs them and they are missing, or the other way round.
        """
        rows: list[dict[str, Any]] = [{self._field: text} for text in texts]
        wanted = {
            "a second text (--second)": (seconds, self.columns == 2, "text_pair"),
            "choices (--choice)": (choices, self.columns is None, "choices"),
        }
        for what, (given, needed, field) in wanted.items():
            if needed and (given is None or len(given) != len(texts)):
                raise UserError(
                    f"{self.folder}: a model of {self.name} needs {what} for each text, or columns with tabs on stdin"
                )
            if given and not needed:
                raise UserError(f"{self.folder}: a model of {self.name} reads one text at a time; leave out {what}")
            if needed:
                rows = [row | {field: value} for row, value in zip(rows, given or [], strict=True)]
        return [{"text": text, **said} for text, said in zip(texts, self._answer(self.loaded, rows), strict=True)]


class Tagger:
    """A model of token classification, loaded to tag texts."""

    def __init__(self, folder: Path, device: str | None = None) -> None:
        self.loaded = loading.load(folder, "tagging", device=device)
        self.tokenizer = load_tokenizer(str(folder), chat=False)

    def __call__(self, texts: list[str]) -> list[dict[str, Any]]:
        """`text` and its `entities`: `label, start, end, text, confidence` each, in the order of the text.

        `start` and `end` count characters. The confidence is the smallest probability of a tag within the entity, as
        the softmax gives it; it is not calibrated.
        """
        from llm_core.kernels.words import token_spans
        from llm_core.training.finetuning.data.entities import entities
        from llm_core.training.finetuning.tagging import predict

        loaded, config = self.loaded, self.loaded.network.config
        rows: list[dict[str, Any]] = [{"text": text, "words": token_spans(text)} for text in texts]
        limits = getattr(config, "tagging_window", {"length": min(loaded.context or 512, 512), "overlap": 32})
        found = predict(loaded.network, self.tokenizer, rows, loaded.kind, limits["length"], limits["overlap"])
        answers = []
        for row, shares in zip(rows, found, strict=True):
            text, words = str(row["text"]), row["words"]
            spans = []
            for label, first, last in entities([config.id2label[at] for at in shares.argmax(1).tolist()]):
                start, end = words[first][0], words[last][1]
                sure = float(shares[first : last + 1].max(1).min())
                spans.append({"label": label, "start": start, "end": end, "text": text[start:end], "confidence": sure})
            answers.append({"text": text, "entities": spans})
        return answers


class Reader:
    """A model of question answering, loaded to find answers in texts; `limits` are those of its training."""

    def __init__(self, folder: Path, device: str | None = None) -> None:
        from llm_core.training.finetuning.span_answers import Limits

        self.loaded = loading.load(folder, "answering", device=device)
        self.tokenizer = load_tokenizer(str(folder), chat=False)
        known = dict(getattr(self.loaded.network.config, "answering", {}))
        self.threshold = known.pop("threshold", None)
        self.limits = Limits(**known) if known else Limits(min(self.loaded.context or 384, 384), 128, 64, 30)

    def __call__(self, questions: list[str], contexts: list[str]) -> list[dict[str, Any]]:
        """For each question and its context `answer, start, end` (characters) and `difference`.

        `difference` is the score of no answer minus the answer's; None where no token of the context can be one. Where
        no answer is better, by the threshold that training found, `answer` is empty and has no place.
        """
        from llm_core.training.finetuning.span_answers import decide, predict

        pairs = zip(questions, contexts, strict=True)
        rows = [{"question": question, "context": context} for question, context in pairs]
        answers = []
        for found in predict(self.loaded.network, self.tokenizer, rows, self.loaded.kind, self.limits):
            said = decide(found, self.threshold)
            start = found.start + found.text.find(said) if said else None
            end = None if start is None else start + len(said)
            difference = found.difference if isfinite(found.difference) else None
            answers.append({"answer": said, "start": start, "end": end, "difference": difference})
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
    """A conversation with a model; it keeps the turns that fit into the model's context.

    Raises UserError where `folder` holds no language model, or a decoder without a chat template.
    """

    def __init__(
        self, folder: Path, system: str | None = None, temperature: float = 0.0, max_new_tokens: int = 128
    ) -> None:
        self.model = loading.load(folder)
        self.tokenizer = self.model.tokenizer
        if not self.tokenizer.chat_template and self.model.kind != "encoder-decoder":
            raise UserError(
                f"{folder}: has no chat template, so it was not finetuned for chat; `llm-core finetune instruction` "
                "does that, `llm-core generate` continues a text with it"
            )
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
            self.messages.pop()  # a question without an answer is not kept in the conversation
            raise
        self.messages.append({"role": "assistant", "content": answer.strip()})

    def _prompt(self) -> list[int]:
        """Ids of the conversation, which loses its oldest turns where it would not fit with them.

        Raises UserError where the last message alone does not fit; the conversation then stays as it is.
        """
        if self.model.kind == "encoder-decoder":
            return prompt_ids(self.tokenizer, self.messages[-1:], "encoder-decoder")
        first = 1 if self.messages[0]["role"] == "system" else 0
        kept = self.messages
        while len(ids := encode_chat(self.tokenizer, kept)) + self.how.max_new_tokens > self.context:
            if len(kept) <= first + 1:
                raise UserError(
                    f"the message is {len(ids)} tokens long; with {self.how.max_new_tokens} to answer it exceeds the "
                    f"context of {self.context}"
                )
            kept = [*kept[:first], *kept[first + 2 :]]
        self.messages = kept
        return ids
