"""Server-sent events of an answer, passed on up to where a stop string begins.

Text that could be the beginning of a stop string is held back until the next tokens show what it is, so that a client
never sees a part of one. What a client has seen in the end equals the same answer asked for without `stream`.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

DONE = b"data: [DONE]\n\n"  # many clients wait for it; transformers' server does not send it


class StopStrings:
    """Text in pieces; what comes out lies before the first stop string."""

    def __init__(self, stop: list[str]) -> None:
        self._stop, self._held, self.found = stop, "", False

    def feed(self, text: str) -> str:
        """The text that is certain, after one more piece."""
        if self.found:
            return ""
        self._held += text
        places = [place for stop in self._stop if (place := self._held.find(stop)) >= 0]
        if places:
            self.found = True
            certain, self._held = self._held[: min(places)], ""
            return certain
        beginnings = [stop[:length] for stop in self._stop for length in range(1, len(stop))]
        begun = max((len(text) for text in beginnings if self._held.endswith(text)), default=0)
        split = len(self._held) - begun
        certain, self._held = self._held[:split], self._held[split:]
        return certain

    def flush(self) -> str:
        """What was held back at the end of the answer: no stop string after all."""
        rest, self._held = self._held, ""
        return rest


class Events:
    """The bytes of a stream of events, some of which hold an answer's text, through `StopStrings`."""

    def __init__(self, stop: list[str]) -> None:
        self._strings, self._rest = StopStrings(stop), b""

    def feed(self, data: bytes) -> bytes:
        """Whole events of what has come so far, with the text that is certain."""
        *events, self._rest = (self._rest + data).split(b"\n\n")
        return b"".join(part for event in events for part in self._rewritten(event))

    def _rewritten(self, event: bytes) -> Iterator[bytes]:
        body = json.loads(event.removeprefix(b"data: "))
        if not body.get("choices"):
            yield event + b"\n\n"  # an error
            return
        holder, key = _place(body)
        given = holder.get(key) or ""
        text = self._strings.feed(given)
        if body["choices"][0].get("finish_reason") is None:
            if given and text:
                holder[key] = text
            if text or not given:
                yield _event(body)
            return
        text += self._strings.flush()
        if text:
            last = deepcopy(body)
            last.pop("usage", None)
            last["choices"][0].pop("finish_reason")
            holder, key = _place(last)
            holder[key] = text
            yield _event(last)
        if self._strings.found:
            body["choices"][0]["finish_reason"] = "stop"
        yield _event(body)


def cut(content: bytes, stop: list[str]) -> bytes:
    """A whole answer without its stop string and what follows it."""
    body = json.loads(content)
    holder, key = _place(body)
    strings = StopStrings(stop)
    text = strings.feed(holder.get(key) or "") + strings.flush()
    if strings.found:
        holder[key] = text
        body["choices"][0]["finish_reason"] = "stop"
    return json.dumps(body, ensure_ascii=False).encode()


def _place(body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The one choice's object that holds text, and the text's key there."""
    choice = body["choices"][0]
    for name in ("delta", "message"):
        if name in choice:
            return choice[name], "content"
    return choice, "text"


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"
