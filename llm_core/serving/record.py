"""What a trace says of one request: what was asked and sent, and the model call in it, read from the answer's bytes.

The request's span includes the time in the queue, that of the model does not. Requests that are refused before they
come to the model are not recorded.
"""

import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from llm_core.tracking.traces import Kind, Step

Trace = Callable[[Callable[[], tuple[Step, list[Step]]]], None]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
KINDS: dict[str, Kind] = {"/v1/chat/completions": "CHAT_MODEL", "/v1/embeddings": "EMBEDDING"}
INPUTS = ("messages", "prompt", "input")


class Record:
    """A request in progress: its body as it was sent, and the answer's bytes as they pass."""

    def __init__(self, path: str, model: str, body: dict[str, Any]) -> None:
        self._whole = Step("CHAIN", path, body)
        self._model = model
        self._call: Step | None = None
        self._status, self._answer, self._complete, self._ended = 0, b"", False, 0

    def begin(self) -> None:
        """The request's turn has come: the model works from now on."""
        inputs = {key: value for key, value in self._whole.inputs.items() if key in INPUTS}
        self._call = Step(KINDS.get(self._whole.name, "LLM"), "model", inputs, model=self._model)

    def watched(self, send: Send) -> Send:
        """`send`, of which a copy is kept."""

        async def watching(message: MutableMapping[str, Any]) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                self._status = message["status"]
            else:
                self._answer += message.get("body", b"")
                self._complete = not message.get("more_body", False)

        return watching

    def end(self) -> None:
        """The request has ended: answered, or its client left."""
        self._ended = time.time_ns()

    def steps(self) -> tuple[Step, list[Step]]:
        """The request and the model call in it. The answer is read here, which takes time if it is long."""
        found = read_answer(self._answer)
        whole = self._whole
        if not self._complete:
            whole.error = "the answer was not complete: the client left, or the server stopped"
        elif self._status != 200:
            whole.error = f"HTTP {self._status}"
        whole.outputs, whole.ended = {"status": self._status, **found}, self._ended
        if self._call is None:
            return whole, []
        usage = found.pop("usage", {})
        call = self._call
        call.tokens_read, call.tokens_written = usage.get("prompt_tokens"), usage.get("completion_tokens")
        call.outputs, call.ended, call.error = found, self._ended, whole.error
        return whole, [call]


def read_answer(content: bytes) -> dict[str, Any]:
    """What an answer says, whole or as a stream: text, finish_reason, usage, data (of vectors their number), error.

    >>> read_answer(b'data: {"choices": [{"text": "On"}]}\\n\\ndata: {"choices": [{"text": "ly"}]}\\n\\n')
    {'text': 'Only'}
    """
    parts = content.split(b"\n\n") if content.startswith(b"data: ") else [content]
    found: dict[str, Any] = {}
    for part in parts:
        try:
            body = json.loads(part.removeprefix(b"data: "))
        except ValueError:  # the end of a stream, or of what a client that left has read
            continue
        for choice in body.get("choices") or ():
            holder = choice.get("delta") or choice.get("message") or choice
            text = holder.get("content") or holder.get("text")
            if text:
                found["text"] = found.get("text", "") + text
            if choice.get("finish_reason"):
                found["finish_reason"] = choice["finish_reason"]
        found |= {key: body[key] for key in ("usage", "error") if body.get(key)}
        if "data" in body:
            vectors = any("embedding" in row for row in body["data"])
            found |= {"vectors": len(body["data"])} if vectors else {"data": body["data"]}
    return found
