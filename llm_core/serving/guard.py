"""The guard in front of transformers' server: limits, one model, and OpenAI's meaning of each field.

A pure ASGI middleware. A request with a field that is not supported is refused in OpenAI's error form, never served in
part. A few requests run at once, some wait, and further ones are refused. torch has one random stream for all threads,
so an answer sampled with a seed runs alone and can be reproduced. When a client disconnects, its generation ends.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from llm_core.params.serving import Serving
from llm_core.serving import stream

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Body = dict[str, Any]

POSTS = {"/v1/chat/completions": "messages", "/v1/completions": "prompt"}
PASSED_ON = {"messages", "prompt", "stream", "seed"}
SAMPLING = {"temperature", "top_p", "max_tokens", "max_completion_tokens", "stop"}
NEUTRAL: dict[str, tuple[Any, ...]] = {  # fields for which only the value without effect is accepted
    "n": (1,), "best_of": (1,), "logprobs": (False, 0), "top_logprobs": (0,), "echo": (False,), "suffix": ("",),
    "presence_penalty": (0,), "frequency_penalty": (0,), "logit_bias": ({},), "tools": ([],), "functions": ([],),
    "tool_choice": ("none", "auto"), "parallel_tool_calls": (True, False), "response_format": ({"type": "text"},),
}  # fmt: skip
IGNORED = {"user", "store", "metadata", "stream_options", "service_tier"}  # a stream's usage is always sent
DISCARDED = 8  # how much of a body that is too large is read before it is refused, as a multiple of the maximum
DISCARD_SECONDS = 2.0
HOSTS = {"127.0.0.1", "localhost", "[::1]"}
ROLES = ("system", "user", "assistant")
MAXIMUM_STOPS, STOP_CHARACTERS = 4, 200  # OpenAI's maximum; each generated token is compared with all of them


class RefusedError(Exception):
    """A request that is not served: HTTP status, message, OpenAI's error code where it has one."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class Guard:
    """The middleware.

    `count` gives a body's prompt tokens; `defaults` is the model's generation config; `idle` waits until no
    thread generates.
    """

    def __init__(
        self,
        app: Any,
        name: str,
        inner: str,
        context: int,
        count: Callable[[Body], int],
        defaults: Body,
        idle: Callable[[], Awaitable[None]],
        limits: Serving,
    ) -> None:
        self.app, self.name, self.context, self.count = app, name, context, count
        self.defaults, self.idle, self.limits = defaults, idle, limits
        self._inner, self._outer = json.dumps(inner).encode(), json.dumps(name).encode()
        self._held = self._reading = 0
        self._door, self._turns = asyncio.Lock(), asyncio.Semaphore(limits.concurrent)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, or pass on an event that is no request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        unread = True

        async def reading() -> Message:
            nonlocal unread
            message = await receive()
            unread = message["type"] == "http.request" and message.get("more_body", False)
            return message

        try:
            await self._serve(scope, reading, send)
        except RefusedError as refusal:
            if unread and scope["method"] == "POST" and refusal.status != 408:  # 408: slow client
                await self._discard(receive)
            await _answer(send, refusal.status, _error(refusal.status, refusal.message, refusal.code))

    async def _serve(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = {key: value.decode("latin1") for key, value in scope["headers"]}
        if _host(headers.get(b"host", "")) not in HOSTS:  # a page of another site whose name resolves to loopback
            raise RefusedError(403, "this server answers on loopback names alone")
        origin = headers.get(b"origin")
        if origin is not None and _host(origin.partition("://")[2]) not in HOSTS:  # a page of another site; "null" too
            raise RefusedError(403, "this server does not answer pages of other sites")
        method, path = scope["method"], scope["path"]
        if method == "GET" and path == "/v1/models":
            entry = {"id": self.name, "object": "model", "created": 0, "owned_by": "local"}
            await _answer(send, 200, {"object": "list", "data": [entry]})
        elif method == "GET" and path == "/health":
            await self.app(scope, receive, send)
        elif method == "POST" and path in POSTS:
            if headers.get(b"content-type", "").partition(";")[0].strip().lower() != "application/json":
                raise RefusedError(415, "the content type must be application/json")
            if not headers.get(b"content-length", "0").isdigit():
                raise RefusedError(400, "the content length is not a number")
            if int(headers.get(b"content-length", "0")) > self.limits.body_bytes:
                raise RefusedError(413, f"a request has at most {self.limits.body_bytes:,} bytes")
            body, stop = await self._body(receive, POSTS[path])  # a slow body takes no place in the queue
            if self._held >= self.limits.concurrent + self.limits.waiting:
                raise RefusedError(429, f"{self._held} requests are running or waiting already; try again later")
            self._held += 1
            try:
                await self._until_gone(receive, lambda gone: self._generate(scope, body, stop, gone, send))
            finally:
                self._held -= 1
        else:
            raise RefusedError(404, f"no {method} {path} here; there are {', '.join(POSTS)}, /v1/models and /health")

    async def _body(self, receive: Receive, wanted: str) -> tuple[Body, list[str]]:
        """The request as `translate` gives it; its bytes must arrive within `limits.body_seconds`."""
        if self._reading >= self.limits.bodies:
            raise RefusedError(429, f"{self._reading} requests are being received already; try again later")
        self._reading += 1
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                body = await self._read(receive)
        except TimeoutError:
            raise RefusedError(408, f"the request was not sent within {self.limits.body_seconds:g} seconds") from None
        finally:
            self._reading -= 1
        return await asyncio.to_thread(
            self.translate, body, wanted
        )  # a long prompt is encoded in a thread beside the event loop

    async def _discard(self, receive: Receive) -> None:
        """Read and discard, within limits, what a refused client still sends.

        A connection that is closed with unread bytes is reset, and the client then never reads the answer.
        """
        left = DISCARDED * self.limits.body_bytes
        try:
            async with asyncio.timeout(min(self.limits.body_seconds, DISCARD_SECONDS)):
                while left > 0:
                    message = await receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        return
        except TimeoutError:
            pass  # the client is too slow for an answer

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
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise RefusedError(400, "the body is no JSON object")
        return body

    def translate(self, body: Body, wanted: str) -> tuple[Body, list[str]]:
        """OpenAI's fields in the form of transformers' server, and the stop strings. Raises RefusedError."""
        body = {key: value for key, value in body.items() if value is not None and key not in IGNORED}
        if body.pop("model", self.name) != self.name:
            raise RefusedError(404, f"the one model here is '{self.name}'", "model_not_found")
        for key in [key for key in body if key in NEUTRAL]:
            if body.pop(key) not in NEUTRAL[key]:
                raise RefusedError(400, f"'{key}' is not supported here")
        for key in ("chat_template", "chat_template_kwargs"):
            if key in body:
                raise RefusedError(400, f"'{key}' is not accepted from a client; the model's own template is used")
        unknown = sorted(set(body) - PASSED_ON - SAMPLING)
        if unknown:
            raise RefusedError(400, f"unknown fields: {', '.join(unknown)[:200]}")
        _check_shape(body, wanted)
        try:
            prompt = self.count(body)
        except Exception as error:  # a template may raise any error about roles
            raise RefusedError(400, f"{wanted}: {error}") from None
        room = self.context - prompt
        if room < 1:
            message = f"the prompt has {prompt} tokens; this model's context has {self.context} in all"
            raise RefusedError(400, message, "context_length_exceeded")
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

    async def _until_gone(self, receive: Receive, work: Callable[[asyncio.Future[None]], Awaitable[None]]) -> None:
        """Await `work`, and cancel it when the client disconnects."""

        async def leaving() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        gone = asyncio.ensure_future(leaving())
        working = asyncio.ensure_future(work(gone))
        try:
            await asyncio.wait([gone, working], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working  # the error that it raised
        finally:
            gone.cancel()
            working.cancel()
            await asyncio.gather(gone, working, return_exceptions=True)

    @asynccontextmanager
    async def _turn(self, alone: bool) -> AsyncIterator[None]:
        """Hold one of the places for generation, or all of them, in order of arrival."""
        taken = 0
        try:
            async with self._door:
                for _ in range(self.limits.concurrent if alone else 1):
                    await self._turns.acquire()
                    taken += 1
            if alone:
                await self.idle()
            yield
        finally:
            for _ in range(taken):
                self._turns.release()

    async def _generate(
        self, scope: Message, body: Body, stop: list[str], gone: asyncio.Future[None], send: Send
    ) -> None:
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
                    await _answer(send, start["status"], _error(start["status"], whole.decode(errors="replace")))
                    return
                content = stream.cut(whole, stop) if stop else whole
                kept = [(key, value) for key, value in start["headers"] if key != b"content-length"]
                await send({**start, "headers": [*kept, (b"content-length", str(len(content)).encode())]})
                await send({"type": "http.response.body", "body": content})

        async with self._turn(alone="seed" in body):
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
    stop = body.get("stop", [])
    stops = [stop] if isinstance(stop, str) else stop
    if not (isinstance(stops, list) and all(isinstance(one, str) and one for one in stops)):
        raise RefusedError(400, "'stop' must be a text or a list of texts, none of them empty")
    if len(stops) > MAXIMUM_STOPS or any(len(one) > STOP_CHARACTERS for one in stops):
        raise RefusedError(400, f"'stop' takes at most {MAXIMUM_STOPS} texts of at most {STOP_CHARACTERS} characters")
    if isinstance(body.get("seed"), float):
        raise RefusedError(400, "'seed' must be a whole number")


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


def _host(address: str) -> str:
    """The host of `host:port`, `[::1]:port` or `host`, in lower case."""
    host, colon, port = address.lower().rpartition(":")
    return host if colon and port.isdigit() else address.lower()


def _is_stream(start: Message) -> bool:
    return any(key == b"content-type" and value.startswith(b"text/event-stream") for key, value in start["headers"])


def _error(status: int, message: str, code: str | None = None) -> Body:
    """OpenAI's form of an error."""
    kind = {429: "rate_limit_error", 500: "server_error"}.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


async def _answer(send: Send, status: int, content: Any) -> None:
    data = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    if status == 429:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
