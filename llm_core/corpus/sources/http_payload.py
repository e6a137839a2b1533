"""The body of an archived HTTP response, as the browser would have seen it.

Undoes `Transfer-Encoding: chunked`, then `Content-Encoding` (gzip, deflate, br, zstd). Crawlers often store the
body decoded and leave the header standing: a body that is evidently not encoded that way is taken as it is.
A body cut short by the crawler gives what can be decoded.
"""

import zlib

import brotli
import zstandard

from llm_core.corpus.sources.warc_frames import inflate_zstd

LARGEST_BODY = 64 << 20  # inflated: a guard against decompression bombs; as text it takes up to four times as much


class UndecodableError(Exception):
    """The body cannot be decoded; the message is the reason's name."""


def decode_body(body: bytes, transfer: str | None, content: str | None) -> bytes:
    """The plain body. `transfer` and `content` are the headers' values. Raises UndecodableError."""
    if transfer and "chunked" in transfer.lower():
        body = dechunk(body)
    for coding in reversed([name.strip().lower() for name in (content or "").split(",")]):
        body = _decode(body, coding)
    return body


def dechunk(body: bytes) -> bytes:
    """Join the chunks of a chunked body; one that is not chunked at all is returned as it is."""
    pieces, place = [], 0
    while place < len(body):
        line_end = body.find(b"\r\n", place, place + 256)
        if line_end < 0 and place and len(body) - place < 256:
            break  # cut within a chunk's header
        size = body[place:line_end].partition(b";")[0].strip() if line_end >= 0 else b""
        try:
            length = int(size, 16)
        except ValueError:
            if place == 0:
                return body  # stored decoded, with the header left standing
            raise UndecodableError("quarantine_chunked") from None
        if length == 0:
            break
        pieces.append(body[line_end + 2 : line_end + 2 + length])
        place = line_end + 2 + length
        if body[place : place + 2] == b"\r\n":
            place += 2
    return b"".join(pieces)


def _decode(body: bytes, coding: str) -> bytes:
    if coding in ("", "identity", "none", "utf-8") or not body:
        return body
    if coding in ("gzip", "x-gzip"):
        return _inflate(body, 31) if body.startswith(b"\x1f\x8b") else body
    if coding == "deflate":  # servers send zlib (RFC 9110) or raw deflate (older ones)
        for window in (15, -15):
            try:
                return _inflate(body, window)
            except UndecodableError:
                continue
        return _plain_or_raise(body, "quarantine_deflate")
    if coding == "br":
        try:
            return _unbrotli(body)
        except brotli.error:
            return _plain_or_raise(body, "quarantine_brotli")
    if coding == "zstd":
        if not body.startswith(b"\x28\xb5\x2f\xfd"):
            return body
        try:
            return inflate_zstd(body, LARGEST_BODY)
        except zstandard.ZstdError:
            raise UndecodableError("quarantine_zstd") from None
    return _plain_or_raise(body, "unknown_content_encoding")


def _inflate(body: bytes, window: int) -> bytes:
    pieces: list[bytes] = []
    while body:
        inflate = zlib.decompressobj(window)
        try:
            pieces.append(inflate.decompress(body, LARGEST_BODY - sum(map(len, pieces)) or 1))
        except zlib.error:
            if pieces:
                break  # what follows a whole member is padding
            raise UndecodableError("quarantine_gzip_body" if window == 31 else "quarantine_deflate") from None
        if inflate.unconsumed_tail:
            raise UndecodableError("quarantine_too_large")
        body = inflate.unused_data
    return b"".join(pieces)


def _unbrotli(body: bytes) -> bytes:
    decompressor, pieces, size = brotli.Decompressor(), [], 0
    for start in range(0, len(body), 1 << 16):
        pieces.append(decompressor.process(body[start : start + (1 << 16)]))
        size += len(pieces[-1])
        if size > LARGEST_BODY:
            raise UndecodableError("quarantine_too_large")
    return b"".join(pieces)


def _plain_or_raise(body: bytes, reason: str) -> bytes:
    """A body that begins like markup was stored decoded."""
    if body.lstrip()[:1] == b"<":
        return body
    raise UndecodableError(reason)
