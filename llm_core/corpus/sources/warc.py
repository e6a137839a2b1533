"""WARC, WET and WAT records as documents.

From WARC: responses (and resources) with status 200 and HTML or plain text, decoded to text in the right charset; HTML
stays HTML (`content_type` in the metadata says so), extraction is cleaning's. From WET: conversions. From WAT:
the page's title and description, with its links in the metadata. Requests, revisits, warcinfo, dns and metadata are
no documents by their kind: counted, not judged. Error pages, images and the like get a ledger row with a reason.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fastwarc.warc import WarcRecord

from llm_core.corpus.sources.base import Document, Record, Rejected, broken_file, or_empty
from llm_core.corpus.sources.charset import decode
from llm_core.corpus.sources.http_payload import UndecodableError, decode_body
from llm_core.corpus.sources.warc_frames import read_frames
from llm_core.runtime.inputs import BrokenInputError, open_unchanged

HTML = ("text/html", "application/xhtml+xml")
TEXT = ("text/plain",)


def read_warc(stream: IO[bytes], name: str, skipped: Counter[str]) -> Iterator[Record]:
    """Stream a seekable WARC file's records as documents and rejected ones, in the file's order.

    `name` is the file's, for the keys of records without an id. `skipped` counts records that are no documents by
    their kind. Raises BrokenInputError when nothing in the file is a WARC record.
    """
    frames = 0
    for frame in read_frames(stream):
        frames += 1
        if frame.damage:
            if frames == 1 and frame.damage == "quarantine_garbage" and not stream.read(1):
                raise BrokenInputError(
                    "quarantine_wrong_kind", f"{name}: is not what its name says (no WARC record in it)"
                )
            yield Rejected(frame.damage, frame.offset, frame.lost)
            continue
        try:
            record = to_record(frame.data, name, frame.offset)
        except (OSError, ValueError, RecursionError) as error:  # what fastwarc and decoding raise on bad headers
            yield Rejected("quarantine_record", frame.offset, len(frame.data), f"{type(error).__name__}: {error}"[:200])
            continue
        if isinstance(record, str):
            skipped[record] += 1
        else:
            yield record


def read_warc_file(path: str | Path, skipped: Counter[str], name: str | None = None) -> Iterator[Record]:
    """`read_warc` of a local file; one that cannot be read is a rejected record."""
    try:
        with open_unchanged(path) as stream:
            yield from or_empty(read_warc(stream, name or str(path), skipped), skipped)
    except (BrokenInputError, OSError) as error:
        yield broken_file(error)


def to_record(data: bytes, name: str, offset: int) -> Record | str:
    """One WARC record's bytes as a document, a rejected record, or the name of its kind where it is neither."""
    record = WarcRecord.from_bytes(data)
    kind = (record.headers.get("WARC-Type") or "unknown").lower()
    url = (record.headers.get("WARC-Target-URI") or "").strip("<> ") or None
    if url and url.startswith("dns:"):
        return "dns"
    if kind == "response" or (kind == "resource" and record.is_http):
        return _response(record, url, name, offset)
    if kind == "resource" and url and url.startswith(("http://", "https://", "ftp://")):  # not wget's own log
        media, charset = _media_type(record.headers.get("Content-Type"))
        return _page(record, record.reader.read(), media, charset, url, name, offset, {})
    if kind == "conversion":
        text = record.reader.read().decode("utf-8", "replace")
        languages = record.headers.get("WARC-Identified-Content-Language")
        return _document(record, text, url, name, offset, {"content_type": "text/plain", "languages": languages})
    if kind == "metadata" and (record.headers.get("Content-Type") or "").startswith("application/json"):
        return _wat(record, url, name, offset)
    return kind


def _response(record: WarcRecord, url: str | None, name: str, offset: int) -> Record:
    if not record.is_http:
        return Rejected("not_http", offset, record.content_length, record.headers.get("Content-Type"))
    size = record.content_length
    record.parse_http()
    headers = record.http_headers
    status = headers.status_code
    if status is None:
        return Rejected("quarantine_http_header", offset, size, url)
    if status != 200:
        return Rejected("http_status", offset, size, str(status))
    body = record.reader.read()
    try:
        body = decode_body(body, headers.get("Transfer-Encoding"), headers.get("Content-Encoding"))
    except UndecodableError as error:
        return Rejected(str(error), offset, size, url)
    media, charset = _media_type(headers.get("Content-Type") or record.headers.get("WARC-Identified-Payload-Type"))
    return _page(record, body, media, charset, url, name, offset, {"truncated": record.headers.get("WARC-Truncated")})


def _page(
    record: WarcRecord,
    body: bytes,
    media: str,
    charset: str | None,
    url: str | None,
    name: str,
    offset: int,
    metadata: dict[str, Any],
) -> Record:
    """A page's bytes as a document, if it is HTML or plain text."""
    if not body.strip():
        return Rejected("empty_body", offset, len(body), url)
    if not media:
        media = "text/html" if b"<html" in body[:2048].lower() or b"<!doctype html" in body[:2048].lower() else ""
    if media not in (*HTML, *TEXT):
        return Rejected("not_html", offset, len(body), media or "no content type")
    html = media in HTML
    text, used = decode(body, charset, html)
    content_type = "text/html" if html else "text/plain"
    return _document(record, text, url, name, offset, {"content_type": content_type, "charset": used, **metadata})


def _wat(record: WarcRecord, url: str | None, name: str, offset: int) -> Record | str:
    """A WAT envelope of an HTML response: title and description as text, links as metadata."""
    size = record.content_length
    try:
        envelope = json.loads(record.reader.read())["Envelope"]
        response = envelope.get("Payload-Metadata", {}).get("HTTP-Response-Metadata")
        if response is None:
            return "wat_of_no_response"
        page = response.get("HTML-Metadata", {})
        head = page.get("Head", {})
        metas = {
            str(meta.get("name", meta.get("property"))).lower(): meta.get("content") for meta in head.get("Metas", [])
        }
        lines = [head.get("Title"), metas.get("description") or metas.get("og:description")]
        text = "\n".join(line.strip() for line in lines if line and line.strip())
        links = [{"url": link["url"], "text": link.get("text")} for link in page.get("Links", []) if "url" in link]
        origin = envelope.get("WARC-Header-Metadata", {}).get("WARC-Target-URI")
    except (ValueError, KeyError, AttributeError, TypeError):
        return Rejected("quarantine_wat", offset, size, url)
    if not text:
        return Rejected("empty_body", offset, size, url)
    return _document(record, text, url or origin, name, offset, {"content_type": "text/plain", "links": links})


def _document(
    record: WarcRecord, text: str, url: str | None, name: str, offset: int, metadata: dict[str, Any]
) -> Document:
    known = {key: value for key, value in metadata.items() if value}
    key = record.record_id or f"{name}@{offset}"
    created = record.headers.get("WARC-Date")
    return Document(
        key=key, text=text, url=url, created=created, metadata={**known, "warc_record_id": key}, offset=offset
    )


def _media_type(header: str | None) -> tuple[str, str | None]:
    """(media type, charset or None) of a Content-Type header."""
    media, _, rest = (header or "").partition(";")
    charset = next(
        (part.partition("=")[2].strip(" \"'") for part in rest.split(";") if "charset" in part.lower()), None
    )
    return media.strip().lower(), charset or None
