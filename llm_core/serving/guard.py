"""What every endpoint of `llm-core serve` has in common: who may ask, how much, and how many at once.

A pure ASGI application. Requests that ask for what cannot be given are refused in OpenAI's error form, never half
obeyed. Some run at once, some wait in line, more are refused with 429. When a client leaves, its work is cancelled.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from llm_core.params.serving import Serving
from llm_core.runtime.json_lines import JsonLineError, parse
from llm_core.serving.record import Record, Trace

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Body = dict[str, Any]

DISCARDED = 8  # how much of a body that is too large is read before it is refused, as a multiple of the maximum
DISCARD_SECONDS = 2.0
HOSTS = {"127.0.0.1", "localhost", "[::1]"}


class RefusedError(Exception):
    """A request that is not served: HTTP status, message, OpenAI's error code where it has one."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


class Guard(ABC):
    """The application; its subclasses say which paths take requests, and answer them.

    `name` is the one model that is served.
    """

    posts: ClassVar[Mapping[str, str]]
    """path that takes requests -> the field of the body that holds the input"""
    ignored: ClassVar[frozenset[str]] = frozenset({"user", "store", "metadata", "service_tier"})
    """fields that change no answer"""

    def __init__(self, name: str, limits: Serving) -> None:
        self.name, self.limits = name, limits
        self.trace: Trace | None = None
        """takes what gives each request and its model call as steps; it must neither wait nor raise"""
        self._held = self._reading = 0
        self._door, self._turns = asyncio.Lock(), asyncio.Semaphore(limits.concurrent)

    @abstractmethod
    def translate(self, body: Body, wanted: str) -> Any:
        """The request as `respond` takes it, its input in the field `wanted`. Raises RefusedError."""

    @abstractmethod
    async def respond(self, scope: Message, request: Any, gone: asyncio.Future[None], send: Send) -> None:
        """Answer a request that `translate` gave; `gone` is done when the client leaves."""

    async def idle(self) -> None:
        """Wait until nothing runs any more for clients that left."""
        await asyncio.sleep(0)

    async def lifespan(self, scope: Message, receive: Receive, send: Send) -> None:
        """The server's start and end, which need nothing here."""
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return

    def fields(self, body: Body) -> Body:
        """The fields of a body that mean something: no nulls, none that is ignored. Refuses another model's name."""
        body = {key: value for key, value in body.items() if value is not None and key not in self.ignored}
        if body.pop("model", self.name) != self.name:
            raise RefusedError(404, f"the one model here is '{self.name}'", "model_not_found")
        return body

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one request, or pass on an event that is no request."""
        if scope["type"] != "http":
            await self.lifespan(scope, receive, send)
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
            await answer(send, refusal.status, error(refusal.status, refusal.message, refusal.code))

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
            await answer(send, 200, {"object": "list", "data": [entry]})
        elif method == "GET" and path == "/health":
            await answer(send, 200, {"status": "ok"})
        elif method == "POST" and path in self.posts:
            if headers.get(b"content-type", "").partition(";")[0].strip().lower() != "application/json":
                raise RefusedError(415, "the content type must be application/json")
            if not headers.get(b"content-length", "0").isdigit():
                raise RefusedError(400, "the content length is not a number")
            if int(headers.get(b"content-length", "0")) > self.limits.body_bytes:
                raise RefusedError(413, f"a request has at most {self.limits.body_bytes:,} bytes")
            body, request = await self._body(receive, self.posts[path])  # a slow body takes no place in the queue
            if self._held >= self.limits.concurrent + self.limits.waiting:
                raise RefusedError(429, f"{self._held} requests are running or waiting already; try again later")
            self._held += 1
            record = Record(path, self.name, body) if self.trace else None
            scope["llm_core.record"] = record
            given = record.watched(send) if record else send
            try:
                await self._until_gone(receive, lambda gone: self.respond(scope, request, gone, given))
            finally:
                self._held -= 1
                if record and self.trace:
                    record.end()
                    self.trace(record.steps)
        else:
            raise RefusedError(
                404, f"no {method} {path} here; there are {', '.join(self.posts)}, /v1/models and /health"
            )

    async def _body(self, receive: Receive, wanted: str) -> tuple[Body, Any]:
        """The body as sent, and the request as `translate` gives it; bytes must arrive within `limits.body_seconds`."""
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
        request = await asyncio.to_thread(self.translate, body, wanted)  # a long prompt takes time to encode
        return body, request

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
            body = parse(data)
        except JsonLineError as error:
            raise RefusedError(400, f"the body is no JSON object: {error}") from None
        if not isinstance(body, dict):
            raise RefusedError(400, "the body is no JSON object")
        return body

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
    async def turn(self, scope: Message, alone: bool) -> AsyncIterator[None]:
        """One of the places at work for the request of `scope`, or all of them, in order of arrival."""
        taken = 0
        try:
            async with self._door:
                for _ in range(self.limits.concurrent if alone else 1):
                    await self._turns.acquire()
                    taken += 1
            if alone:
                await self.idle()
            record = scope.get("llm_core.record")
            if record:
                record.begin()
            yield
        finally:
            for _ in range(taken):
                self._turns.release()


def refuse_unknown(body: Body, known: set[str]) -> None:
    """Raise RefusedError where the body has other fields than the known ones."""
    unknown = sorted(set(body) - known)
    if unknown:
        there = ", ".join(sorted(known))
        raise RefusedError(400, f"unknown fields: {', '.join(unknown)[:200]} (there are {there})")


def _host(address: str) -> str:
    """The host of `host:port`, `[::1]:port` or `host`, in lower case."""
    host, colon, port = address.lower().rpartition(":")
    return host if colon and port.isdigit() else address.lower()


def error(status: int, message: str, code: str | None = None) -> Body:
    """OpenAI's form of an error."""
    kind = {429: "rate_limit_error", 500: "server_error"}.get(status, "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


async def answer(send: Send, status: int, content: Any) -> None:
    """Send `content` as JSON."""
    data = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    if status == 429:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
