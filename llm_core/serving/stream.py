"""Server-sent events of an answer, passed on up to where a stop string begins.

Text that could be the beginning of a stop string is held back until the next tokens decide, so a client never sees
a part of one. In the end the client has the same text as without `stream`.
"""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

DONE = b"data: [DONE]\n\n"  # many clients wait for it; transformers' server does not send it


class StopStrings:
    """Text in pieces; only what precedes the first stop string is passed on."""

    def __init__(self, stop: list[str]) -> None:
        self._stop, self._held, self.found = stop, "", False

    def feed(self, text: str) -> str:
        """Add a piece; return the text that can be passed on now."""
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
        """The text held back at the end of the answer; it was no stop string."""
        rest, self._held = self._held, ""
        return rest


class Events:
    """Pass a stream of events, some of which contain text of an answer, through `StopStrings`."""

    def __init__(self, stop: list[str]) -> None:
        self._strings, self._rest = StopStrings(stop), b""

    def feed(self, data: bytes) -> bytes:
        """The complete events so far, with the text that can be passed on."""
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
    """A complete answer, cut before its stop string."""
    body = json.loads(content)
    holder, key = _place(body)
    strings = StopStrings(stop)
    text = strings.feed(holder.get(key) or "") + strings.flush()
    if strings.found:
        holder[key] = text
        body["choices"][0]["finish_reason"] = "stop"
    return json.dumps(body, ensure_ascii=False).encode()


def _place(body: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The object of the only choice that contains text, and the key of the text in it."""
    choice = body["choices"][0]
    for name in ("delta", "message"):
        if name in choice:
            return choice[name], "content"
    return choice, "text"


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"
