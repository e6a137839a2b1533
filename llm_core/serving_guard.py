"""What stands before transformers' server: limits, one model, and OpenAI's meaning of each field.

A pure ASGI middleware. Requests that ask for what cannot be given are refused in OpenAI's error form, never
half obeyed. Requests wait in line, since generation runs one at a time; a seed is therefore exact. Streams end with
`data: [DONE]`, which the server below does not send and many clients wait for.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Body = dict[str, Any]

POSTS = {"/v1/chat/completions": "messages", "/v1/completions": "prompt"}
PASSED_ON = {"messages", "prompt", "stream", "seed", "chat_template_kwargs"}
SAMPLING = {"temperature", "top_p", "max_tokens", "max_completion_tokens", "stop"}
NEUTRAL: dict[str, tuple[Any, ...]] = {  # fields of which only the value that changes nothing is taken
    "n": (1,), "best_of": (1,), "logprobs": (False, 0), "top_logprobs": (0,), "echo": (False,), "suffix": ("",),
    "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},), "tools": ([],), "functions": ([],),
    "tool_choice": ("none", "auto"), "parallel_tool_calls": (True, False), "response_format": ({"type": "text"},),
}  # fmt: skip
IGNORED = {"user", "store", "metadata", "stream_options", "service_tier"}  # a stream's usage is always sent
HOSTS = {"127.0.0.1", "localhost", "[::1]"}


@dataclass(frozen=True)
class Limits:
    """What one request may ask for."""

    new_tokens: int = 512
    """most tokens of an answer; also what a request without max_tokens gets"""
    seconds: float = 120.0
    """longest time of an answer"""
    waiting: int = 8
    """requests held at once, the running one included; more are answered 429"""
    body_bytes: int = 1 << 20


class RefusedError(Exception):
    """A request that is not served: HTTP status, message, OpenAI's error type."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error") -> None:
        super().__init__(message)
        self.status, self.message, self.kind = status, message, kind


class Guard:
    """The middleware. `count` gives a body's prompt tokens; `defaults` is the model's generation config."""

    def __init__(
        self,
        app: Any,
        name: str,
        inner: str,
        context: int,
        count: Callable[[Body], int],
        defaults: Body,
        limits: Limits,
    ) -> None:
        self.app, self.name, self.context, self.count = app, name, context, count
        self.defaults, self.limits = defaults, limits
        self._inner, self._outer = json.dumps(inner).encode(), json.dumps(name).encode()
        self._held = 0
        self._line = asyncio.Semaphore(1)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request (or pass on what is no request)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            await self._serve(scope, receive, send)
        except RefusedError as refusal:
            error = {"message": refusal.message, "type": refusal.kind, "param": None, "code": None}
            await _answer(send, refusal.status, {"error": error})

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        host = dict(scope["headers"]).get(b"host", b"").decode("latin1").rpartition(":")
        if (host[0] or host[2]) not in HOSTS:  # a page elsewhere whose name resolves to loopback
            raise RefusedError(403, "this server answers on loopback names alone")
        method, path = scope["method"], scope["path"]
        if method == "GET" and path == "/v1/models":
            entry = {"id": self.name, "object": "model", "created": 0, "owned_by": "local"}
            await _answer(send, 200, {"object": "list", "data": [entry]})
        elif method == "GET" and path == "/health":
            await self.app(scope, receive, send)
        elif method == "POST" and path in POSTS:
            if self._held >= self.limits.waiting:
                raise RefusedError(
                    429, f"{self._held} requests are waiting already; try again later", "rate_limit_error"
                )
            self._held += 1
            try:
                body, stop = self.translate(await self._read(receive), POSTS[path])
                async with self._line:
                    await self._generate(scope, body, stop, receive, send)
            finally:
                self._held -= 1
        else:
            raise RefusedError(404, f"no {method} {path} here; there are {', '.join(POSTS)}, /v1/models and /health")

    async def _read(self, receive: Receive) -> Body:
        data = b""
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RefusedError(400, "the client left")
            data += message.get("body", b"")
            more = message.get("more_body", False)
            if len(data) > self.limits.body_bytes:
                raise RefusedError(413, f"a request has at most {self.limits.body_bytes:,} bytes")
        try:
            body = json.loads(data)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise RefusedError(400, "the body is no JSON object")
        return body

    def translate(self, body: Body, wanted: str) -> tuple[Body, list[str]]:
        """OpenAI's fields as the server below understands them, and the stop strings. Raises RefusedError."""
        body = {key: value for key, value in body.items() if value is not None and key not in IGNORED}
        if body.pop("model", self.name) != self.name:
            raise RefusedError(404, f"the one model here is '{self.name}'")
        for key in [key for key in body if key in NEUTRAL]:
            if body.pop(key) not in NEUTRAL[key]:
                raise RefusedError(400, f"'{key}' is not supported here")
        unknown = sorted(set(body) - PASSED_ON - SAMPLING)
        if unknown:
            raise RefusedError(400, f"unknown fields: {', '.join(unknown)}")
        _check_shape(body, wanted)
        try:
            prompt = self.count(body)
        except Exception as error:  # a template may raise anything about roles
            raise RefusedError(400, f"{wanted}: {error}") from None
        room = self.context - prompt
        if room < 1:
            raise RefusedError(400, f"the prompt has {prompt} tokens; this model sees {self.context} in all")
        stop = body.pop("stop", [])
        stop = [stop] if isinstance(stop, str) else stop
        if stop and body.get("stream"):
            raise RefusedError(400, "'stop' together with 'stream' is not supported here")
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
        if stop:
            config["stop_strings"] = stop
        config.pop("transformers_version", None)
        return body | {"generation_config": json.dumps(config)}, stop

    async def _generate(self, scope: Message, body: Body, stop: list[str], receive: Receive, send: Send) -> None:
        data = json.dumps(body).encode()
        headers = [(key, value) for key, value in scope["headers"] if key not in (b"content-length", b"content-type")]
        headers += [(b"content-length", str(len(data)).encode()), (b"content-type", b"application/json")]
        given = False

        async def hand_on() -> Message:
            nonlocal given
            if given:
                return await receive()  # tells when the client leaves
            given = True
            return {"type": "http.request", "body": data, "more_body": False}

        start: Message = {}
        whole = b""

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
                await send({**message, "body": part + (b"data: [DONE]\n\n" if last else b"")})
                return
            whole += part
            if last:
                content = _cut(whole, stop) if stop and start["status"] == 200 else whole
                kept = [(key, value) for key, value in start["headers"] if key != b"content-length"]
                await send({**start, "headers": [*kept, (b"content-length", str(len(content)).encode())]})
                await send({"type": "http.response.body", "body": content})

        await self.app({**scope, "headers": headers}, hand_on, pass_on)


def _check_shape(body: Body, wanted: str) -> None:
    """Types of the fields; RefusedError tells the first that is wrong."""
    value = body.get(wanted)
    if wanted == "prompt" and not (isinstance(value, str) and value):
        raise RefusedError(400, "'prompt' must be a text (one, not empty)")
    if wanted == "messages" and not (
        isinstance(value, list)
        and value
        and all(
            isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in value
        )
    ):
        raise RefusedError(400, "'messages' must be a list of objects with 'role' and 'content', both texts")
    for key, low, high in (("temperature", 0, 2), ("top_p", 0, 1), ("max_tokens", 1, 1 << 31), ("seed", 0, 1 << 62),
                           ("max_completion_tokens", 1, 1 << 31)):  # fmt: skip
        number = body.get(key, low)
        if isinstance(number, bool) or not isinstance(number, int | float) or not low <= number <= high:
            raise RefusedError(400, f"'{key}' must be a number from {low} to {high}")
    stop = body.get("stop", [])
    if not (isinstance(stop, str) or (isinstance(stop, list) and all(isinstance(s, str) and s for s in stop))):
        raise RefusedError(400, "'stop' must be a text or a list of texts")


def _cut(content: bytes, stop: list[str]) -> bytes:
    """A whole answer without its stop string and what follows it."""
    answer = json.loads(content)
    for choice in answer.get("choices", []):
        holder, key = (choice["message"], "content") if "message" in choice else (choice, "text")
        places = [place for text in stop if (place := (holder.get(key) or "").find(text)) >= 0]
        if places:
            holder[key] = holder[key][: min(places)]
            choice["finish_reason"] = "stop"
    return json.dumps(answer, ensure_ascii=False).encode()


def _is_stream(start: Message) -> bool:
    return any(key == b"content-type" and value.startswith(b"text/event-stream") for key, value in start["headers"])


async def _answer(send: Send, status: int, content: Any) -> None:
    data = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
