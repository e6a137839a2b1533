"""The endpoints of models that read texts once and write none: embeddings of an encoder, in OpenAI's form.

A pass uses all cores, so one runs at a time.
"""

import asyncio
import base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from llm_core.params.serving import Serving
from llm_core.retrieval.encoders import Encoder
from llm_core.serving.guard import Body, Guard, Message, RefusedError, Send, answer, refuse_unknown

MAXIMUM_TEXTS = 256


class OnePass(Guard):
    """Requests of texts, each answered by one pass of a model. `tokens` counts those of each text."""

    known: ClassVar[frozenset[str]] = frozenset({"input"})
    """fields of a request"""

    def __init__(self, name: str, context: int, tokens: Callable[[Sequence[str]], list[int]], limits: Serving) -> None:
        super().__init__(name, limits)
        self.context, self.tokens = context, tokens

    def translate(self, body: Body, wanted: str) -> Body:
        """The request's fields, with its texts and their number of tokens. Raises RefusedError."""
        body = self.fields(body)
        refuse_unknown(body, set(self.known))
        texts = body.get(wanted)
        texts = [texts] if isinstance(texts, str) else texts
        if not (isinstance(texts, list) and texts and all(isinstance(text, str) and text for text in texts)):
            raise RefusedError(400, f"'{wanted}' must be a text or a list of texts, none of them empty")
        if len(texts) > MAXIMUM_TEXTS:
            raise RefusedError(400, f"'{wanted}' takes at most {MAXIMUM_TEXTS} texts")
        counts = self.tokens(texts)
        if max(counts) > self.context:
            where = f"{wanted}[{counts.index(max(counts))}]"
            message = f"{where} has {max(counts)} tokens; this model sees {self.context}"
            raise RefusedError(400, message, "context_length_exceeded")
        return body | {"texts": texts, "count": sum(counts)}

    async def respond(self, scope: Message, request: Body, gone: asyncio.Future[None], send: Send) -> None:
        """Run the pass on a thread, and send its result for each text."""
        async with self.turn(alone=True):
            data = await asyncio.to_thread(self.read, request)
        usage = {"prompt_tokens": request["count"], "total_tokens": request["count"]}
        await answer(send, 200, {"object": "list", "data": data, "model": self.name, "usage": usage})

    def read(self, request: Body) -> list[Body]:
        """The result for each text of the request."""
        raise NotImplementedError


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
        rows = self.encoder(request["texts"])
        return [
            {"object": "embedding", "index": number, "embedding": _encoded(row, request["encoding_format"])}
            for number, row in enumerate(rows)
        ]


def _encoded(row: Any, form: str) -> Any:
    if form == "float":
        return row.tolist()
    return base64.b64encode(np.asarray(row, "<f4").tobytes()).decode()
