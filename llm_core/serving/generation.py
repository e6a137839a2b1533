"""The generation endpoints: transformers' server behind the guard, with OpenAI's meaning of each field.

torch has one random stream for all threads: a sampled answer with a seed runs alone, and is therefore exact.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from llm_core.params.serving import Serving
from llm_core.serving import stream
from llm_core.serving.guard import Body, Guard, Message, Receive, RefusedError, Send, answer, error, refuse_unknown

PASSED_ON = {"messages", "prompt", "stream", "seed"}
SAMPLING = {"temperature", "top_p", "max_tokens", "max_completion_tokens", "stop"}
NEUTRAL: dict[str, tuple[Any, ...]] = {  # fields for which only the value without effect is accepted
    "n": (1,), "best_of": (1,), "logprobs": (False, 0), "top_logprobs": (0,), "echo": (False,), "suffix": ("",),
    "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},), "tools": ([],), "functions": ([],),
    "tool_choice": ("none", "auto"), "parallel_tool_calls": (True, False), "response_format": ({"type": "text"},),
}  # fmt: skip
ROLES = ("system", "user", "assistant")
MAXIMUM_STOPS, STOP_CHARACTERS = 4, 200  # OpenAI's maximum; each generated token is compared with all of them


class Generation(Guard):
    """Chat and completion of one language model.

    `app` is transformers' server, in which the model is called `inner`; `count` gives a body's prompt tokens, and
    `least` how many there are at least, without encoding it; `defaults` is the model's generation config; `idle` waits
    until no thread generates.
    """

    posts: ClassVar = {"/v1/chat/completions": "messages", "/v1/completions": "prompt"}
    ignored: ClassVar = Guard.ignored | {"stream_options"}  # a stream's usage is always sent

    def __init__(
        self,
        app: Any,
        name: str,
        inner: str,
        context: int,
        count: Callable[[Body], int],
        least: Callable[[Body], int],
        defaults: Body,
        idle: Callable[[], Awaitable[None]],
        limits: Serving,
    ) -> None:
        super().__init__(name, limits)
        self.app, self.context, self.count, self.least = app, context, count, least
        self.defaults, self._idle = defaults, idle
        self._inner, self._outer = json.dumps(inner).encode(), json.dumps(name).encode()

    async def idle(self) -> None:
        """Wait until no thread generates."""
        await self._idle()

    async def lifespan(self, scope: Message, receive: Receive, send: Send) -> None:
        """Passed on to transformers' server."""
        await self.app(scope, receive, send)

    def translate(self, body: Body, wanted: str) -> tuple[Body, list[str]]:
        """OpenAI's fields in the form of transformers' server, and the stop strings. Raises RefusedError."""
        body = self.fields(body)
        for key in [key for key in body if key in NEUTRAL]:
            if body.pop(key) not in NEUTRAL[key]:
                raise RefusedError(400, f"'{key}' is not supported here")
        for key in ("chat_template", "chat_template_kwargs"):
            if key in body:
                raise RefusedError(400, f"'{key}' is not accepted from a client; the model's own template is used")
        refuse_unknown(body, PASSED_ON | SAMPLING)
        _check_shape(body, wanted)
        try:
            self._room(self.least(body), "at least ")  # to encode what cannot fit may take seconds
            room = self._room(self.count(body))
        except RefusedError:
            raise
        except Exception as error:  # a template may raise any error about roles
            raise RefusedError(400, f"{wanted}: {error}") from None
        stop = body.pop("stop", [])
        stop = [stop] if isinstance(stop, str) else stop
        asked = body.pop("max_completion_tokens", None) or body.pop("max_tokens", None) or self.limits.new_tokens
        body.pop("max_tokens", None)
        temperature, top_p = float(body.pop("temperature", 1.0)), float(body.pop("top_p", 1.0))
        config = self.defaults | {
            "max_new_tokens": min(int(asked), self.limits.new_tokens, room),
            "max_time": self.limits.seconds,
            "do_sample": temperature > 0,
        }
        if temperature > 0:
            config |= {"temperature": temperature, "top_p": top_p, "top_k": 0}
        else:
            body.pop("seed", None)  # nothing is sampled
        if stop:
            config["stop_strings"] = stop
        config.pop("transformers_version", None)
        return body | {"generation_config": json.dumps(config)}, stop

    def _room(self, prompt: int, known: str = "") -> int:
        """How many tokens an answer may have behind so many of a prompt. Raises RefusedError where it has no room."""
        if prompt >= self.context:
            message = f"the prompt has {known}{prompt} tokens; this model's context has {self.context} in all"
            raise RefusedError(400, message, "context_length_exceeded")
        return self.context - prompt

    async def respond(
        self, scope: Message, request: tuple[Body, list[str]], gone: asyncio.Future[None], send: Send
    ) -> None:
        """Generate the answer by transformers' server, streamed or whole."""
        body, stop = request
        data = json.dumps(body).encode()
        headers = [(key, value) for key, value in scope["headers"] if key not in (b"content-length", b"content-type")]
        headers += [(b"content-length", str(len(data)).encode()), (b"content-type", b"application/json")]
        given = False

        async def hand_on() -> Message:
            nonlocal given
            if given:
                await asyncio.shield(gone)
                return {"type": "http.disconnect"}
            given = True
            return {"type": "http.request", "body": data, "more_body": False}

        start: Message = {}
        whole = b""
        events = stream.Events(stop)

        async def pass_on(message: Message) -> None:
            nonlocal start, whole
            if message["type"] == "http.response.start":
                start = message
                if _is_stream(start):
                    await send(start)
                return
            part = message.get("body", b"").replace(self._inner, self._outer)
            last = not message.get("more_body", False)
            if _is_stream(start):
                part = events.feed(part) if stop else part
                if part or last:
                    await send({**message, "body": part + (stream.DONE if last else b"")})
                return
            whole += part
            if last:
                if start["status"] != 200:
                    await answer(send, start["status"], error(start["status"], whole.decode(errors="replace")))
                    return
                content = stream.cut(whole, stop) if stop else whole
                kept = [(key, value) for key, value in start["headers"] if key != b"content-length"]
                await send({**start, "headers": [*kept, (b"content-length", str(len(content)).encode())]})
                await send({"type": "http.response.body", "body": content})

        async with self.turn(scope, alone="seed" in body):
            await self.app({**scope, "headers": headers}, hand_on, pass_on)


def _check_shape(body: Body, wanted: str) -> None:
    """Types of the fields; RefusedError names the first that is wrong."""
    value = body.get(wanted)
    if wanted == "prompt" and not (isinstance(value, str) and value):
        raise RefusedError(400, "'prompt' must be a text (one, not empty)")
    if wanted == "messages":
        if not isinstance(value, list) or not value:
            raise RefusedError(400, "'messages' must be a list of messages, not empty")
        body[wanted] = [_message(number, message) for number, message in enumerate(value)]
    if not isinstance(body.get("stream", False), bool):
        raise RefusedError(400, "'stream' must be true or false")
    for key, low, high in (("temperature", 0, 2), ("top_p", 0, 1), ("max_tokens", 1, 1 << 31), ("seed", 0, 1 << 62),
                           ("max_completion_tokens", 1, 1 << 31)):  # fmt: skip
        number = body.get(key, low)
        if isinstance(number, bool) or not isinstance(number, int | float) or not low <= number <= high:
            raise RefusedError(400, f"'{key}' must be a number from {low} to {high}")
        if key not in ("temperature", "top_p") and isinstance(number, float):
            raise RefusedError(400, f"'{key}' must be a whole number")
    stop = body.get("stop", [])
    stops = [stop] if isinstance(stop, str) else stop
    if not (isinstance(stops, list) and all(isinstance(one, str) and one for one in stops)):
        raise RefusedError(400, "'stop' must be a text or a list of texts, none of them empty")
    if len(stops) > MAXIMUM_STOPS or any(len(one) > STOP_CHARACTERS for one in stops):
        raise RefusedError(400, f"'stop' takes at most {MAXIMUM_STOPS} texts of at most {STOP_CHARACTERS} characters")


def _message(number: int, message: Any) -> dict[str, str]:
    """A message with its role checked and its content as one text. Raises RefusedError."""
    where = f"messages[{number}]"
    if not isinstance(message, dict):
        raise RefusedError(400, f"{where} must be an object with 'role' and 'content'")
    if message.get("role") not in ROLES:
        raise RefusedError(400, f"{where}: 'role' must be one of {', '.join(ROLES)}")
    content = message.get("content")
    if isinstance(content, list) and content:
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        if len(parts) != len(content) or not all(isinstance(part, str) for part in parts):
            raise RefusedError(400, f"{where}: each part of 'content' must be {{'type': 'text', 'text': ...}}")
        content = "".join(map(str, parts))
    if not isinstance(content, str):
        raise RefusedError(400, f"{where}: 'content' must be a text or a list of text parts")
    return {"role": message["role"], "content": content}


def _is_stream(start: Message) -> bool:
    return any(key == b"content-type" and value.startswith(b"text/event-stream") for key, value in start["headers"])
