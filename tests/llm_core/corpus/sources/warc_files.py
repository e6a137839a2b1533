"""Small WARC files for the tests, written by hand so that any part of them can be wrong."""

import gzip

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"


def page(number: int, size: int = 400) -> bytes:
    """A page that says which it is, and does not compress to nothing."""
    words = " ".join(f"word{(number * 31 + i * i) % 977}" for i in range(size // 8))
    return f"<html><body><p>page {number}</p><p>{words}</p></body></html>".encode()


def http(body: bytes, head: bytes = OK) -> bytes:
    return head + b"\r\n" + body


def record(
    number: int,
    block: bytes | None = None,
    kind: str = "response",
    length: object = None,
    url: str | None = None,
    content_type: str = "application/http; msgtype=response",
    extra: str = "",
) -> bytes:
    """One record, its trailing blank lines included; `length` is what Content-Length claims."""
    block = http(page(number)) if block is None else block
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{number}>\r\n"
        f"WARC-Target-URI: {url or f'http://example.org/{number}'}\r\nWARC-Date: 2024-05-18T01:58:{number:02d}Z\r\n"
        f"Content-Type: {content_type}\r\n{extra}Content-Length: {len(block) if length is None else length}\r\n\r\n"
    )
    return head.encode() + block + b"\r\n\r\n"


def packed(records: list[bytes]) -> bytes:
    """Each record a gzip member of its own, as crawlers write them."""
    return b"".join(gzip.compress(one, mtime=0) for one in records)
