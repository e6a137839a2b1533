"""The endpoints of models that read texts once and write none: embeddings, labels, entities, marked answers.

`/v1/embeddings` has OpenAI's form. `/classify`, `/tag` and `/answer` answer with the fields that `llm-core classify`,
`tag` and `answer` print with `--json`. A pass uses all cores, so one runs at a time.
"""

import asyncio
import base64
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from llm_core.models.prompts import encode_text
from llm_core.params.serving import Serving
from llm_core.retrieval.encoders import Encoder
from llm_core.serving.guard import Body, Guard, Message, RefusedError, Send, answer, refuse_unknown
from llm_core.training.finetuning.use import Classifier, Reader, Tagger

MAXIMUM_TEXTS = 256
Count = Callable[[Sequence[str]], list[int]]


class OnePass(Guard):
    """Requests of texts, each answered by one pass of a model.

    `tokens` counts those of each text; `context` is how many the model reads, None where it reads any number.
    """

    known: ClassVar[frozenset[str]] = frozenset({"input"})
    """fields of a request"""

    def __init__(self, name: str, context: int | None, tokens: Count, limits: Serving) -> None:
        super().__init__(name, limits)
        self.context, self.tokens = context, tokens

    def translate(self, body: Body, wanted: str) -> Body:
        """The request's fields with its `rows`, each the texts of one item, and their `count` of tokens.

        Raises RefusedError.
        """
        body = self.fields(body)
        refuse_unknown(body, set(self.known))
        rows = [self.row(item, wanted) for item in self.items(body.get(wanted), wanted)]
        counts = [sum(self.tokens(row)) for row in rows]
        if self.context and max(counts) > self.context:
            where = f"{wanted}[{counts.index(max(counts))}]"
            message = f"{where} has {max(counts)} tokens; this model sees {self.context}"
            raise RefusedError(400, message, "context_length_exceeded")
        return body | {"rows": rows, "count": sum(counts)}

    def items(self, given: Any, wanted: str) -> list[Any]:
        """The items of a request: one, or a list of them."""
        items = [given] if isinstance(given, str) else given
        if not isinstance(items, list) or not items:
            raise RefusedError(400, f"'{wanted}' must be a text or a list of texts, none of them empty")
        if len(items) > MAXIMUM_TEXTS:
            raise RefusedError(400, f"'{wanted}' takes at most {MAXIMUM_TEXTS} texts")
        return items

    def texts_of(self, line: str) -> Any:
        """The item that a line of text is, with tabs between its texts where it has several."""
        return line

    def row(self, item: Any, wanted: str) -> list[str]:
        """The texts of one item."""
        if not isinstance(item, str) or not item:
            raise RefusedError(400, f"'{wanted}' must be a text or a list of texts, none of them empty")
        return [item]

    async def respond(self, scope: Message, request: Body, gone: asyncio.Future[None], send: Send) -> None:
        """Run the pass on a thread, and send its result for each item."""
        async with self.turn(scope, alone=True):
            data = await asyncio.to_thread(self.read, request)
        usage = {"prompt_tokens": request["count"], "total_tokens": request["count"]}
        await answer(send, 200, {"object": "list", "data": data, "model": self.name, "usage": usage})

    @abstractmethod
    def read(self, request: Body) -> list[Body]:
        """The result for each row of the request."""


class Embeddings(OnePass):
    """Unit vectors of texts, by the encoder of retrieval."""

    posts: ClassVar = {"/v1/embeddings": "input"}
    known: ClassVar = frozenset({"input", "encoding_format", "dimensions"})

    def __init__(self, model: Path, limits: Serving) -> None:
        self.encoder = Encoder(str(model))
        super().__init__(model.resolve().name, self.encoder.context, self.encoder.lengths, limits)

    def translate(self, body: Body, wanted: str) -> Body:
        """As for every pass; vectors are lists of numbers or base64 of little-endian float32."""
        request = super().translate(body, wanted)
        if request.setdefault("encoding_format", "float") not in ("float", "base64"):
            raise RefusedError(400, "'encoding_format' must be float or base64")
        if request.get("dimensions", self.encoder.dimensions) != self.encoder.dimensions:
            raise RefusedError(400, f"'dimensions': the vectors of this model have {self.encoder.dimensions}")
        return request

    def read(self, request: Body) -> list[Body]:
        """A unit vector for each text."""
        rows = self.encoder([text for (text,) in request["rows"]])
        return [
            {"object": "embedding", "index": number, "embedding": _encoded(row, request["encoding_format"])}
            for number, row in enumerate(rows)
        ]


class Classification(OnePass):
    """What a model with a head says of texts; confidences are calibrated where the model is.

    An item is a text; two texts for a model of pairs; a question and its choices for one of multiple choice.
    """

    posts: ClassVar = {"/classify": "input"}

    def __init__(self, model: Path, device: str, limits: Serving) -> None:
        self.classifier = Classifier(model, device)
        loaded = self.classifier.loaded
        super().__init__(model.resolve().name, loaded.context or 512, partial(_lengths, loaded.tokenizer), limits)

    def texts_of(self, line: str) -> Any:
        """A text, or the texts between tabs where the model reads several."""
        return line if self.classifier.columns == 1 else line.split("\t")

    def row(self, item: Any, wanted: str) -> list[str]:
        """The texts of one item, as many as the model reads."""
        columns = self.classifier.columns
        if columns == 1:
            return super().row(item, wanted)
        fits = isinstance(item, list) and (len(item) == columns or (columns is None and len(item) > 2))
        if not fits or not all(isinstance(text, str) and text for text in item):
            what = "two texts" if columns else "a question and its choices"
            raise RefusedError(400, f"'{wanted}' must be a list in which each item is a list of {what}")
        return list(item)

    def read(self, request: Body) -> list[Body]:
        """For each item the fields of `llm-core classify --json`, without the text."""
        rows = request["rows"]
        seconds = [row[1] for row in rows] if self.classifier.columns == 2 else None
        choices = [row[1:] for row in rows] if self.classifier.columns is None else None
        return [
            {"index": number, **{key: value for key, value in found.items() if key != "text"}}
            for number, found in enumerate(self.classifier([row[0] for row in rows], seconds, choices))
        ]


class Tagging(OnePass):
    """The entities of texts of any length, which are read by windows."""

    posts: ClassVar = {"/tag": "input"}

    def __init__(self, model: Path, device: str, limits: Serving) -> None:
        self.tagger = Tagger(model, device)
        super().__init__(model.resolve().name, None, partial(_lengths, self.tagger.tokenizer), limits)

    def read(self, request: Body) -> list[Body]:
        """For each text its entities, as `llm-core tag --json` prints them."""
        found = self.tagger([text for (text,) in request["rows"]])
        return [{"index": number, "entities": one["entities"]} for number, one in enumerate(found)]


class Answering(OnePass):
    """The words of a context that answer a question; a context of any length is read by windows."""

    posts: ClassVar = {"/answer": "input"}

    def __init__(self, model: Path, device: str, limits: Serving) -> None:
        self.reader = Reader(model, device)
        super().__init__(model.resolve().name, None, partial(_lengths, self.reader.tokenizer), limits)

    def texts_of(self, line: str) -> Any:
        """A question and, after the first tab, its context."""
        return line.split("\t", 1)

    def row(self, item: Any, wanted: str) -> list[str]:
        """A question, which must not be longer than the model was trained to read, and its context."""
        if not (
            isinstance(item, list) and len(item) == 2 and all(isinstance(one, str) and one.strip() for one in item)
        ):
            raise RefusedError(
                400, f"'{wanted}' must be a list in which each item is a list of a question and a context"
            )
        (length,), longest = self.tokens(item[:1]), self.reader.limits.question
        if length > longest:
            message = f"the question {item[0][:40]!r} has {length} tokens; this model reads {longest}"
            raise RefusedError(400, message, "context_length_exceeded")
        return list(item)

    def read(self, request: Body) -> list[Body]:
        """For each question and context the fields of `llm-core answer --json`."""
        questions, contexts = (list(column) for column in zip(*request["rows"], strict=True))
        return [{"index": number, **found} for number, found in enumerate(self.reader(questions, contexts))]


def _lengths(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    return [len(encode_text(tokenizer, text)) for text in texts]


def _encoded(row: Any, form: str) -> Any:
    if form == "float":
        return row.tolist()
    return base64.b64encode(np.asarray(row, "<f4").tobytes()).decode()
