"""WARC, WET and WAT records as documents: which are kept, in what charset, and why others are not."""

import codecs
import gzip
import io
import json
import zlib
from collections import Counter
from pathlib import Path

import brotli
import pytest
import zstandard

from llm_core.corpus.sources.base import Document, Record, Rejected
from llm_core.corpus.sources.http_payload import UndecodableError, decode_body
from llm_core.corpus.sources.warc import read_warc, read_warc_file
from llm_core.errors import UserError
from tests.llm_core.corpus.sources.warc_files import OK, http, packed, page, record

SAMPLES = Path("../shared/data/webarchive")
needs_samples = pytest.mark.skipif(
    not SAMPLES.is_dir(), reason=f"real crawls are only in {SAMPLES}, which this checkout has not"
)


def read(data: bytes) -> tuple[list[Record], Counter[str]]:
    skipped: Counter[str] = Counter()
    return list(read_warc(io.BytesIO(data), "test.warc.gz", skipped)), skipped


def one(block: bytes, **arguments: str) -> Record:
    [only], _ = read(packed([record(1, block, **arguments)]))
    return only


def test_responses_become_documents_and_other_kinds_are_counted():
    records, skipped = read(
        packed(
            [
                record(0, b"software: x\r\n", "warcinfo", content_type="application/warc-fields"),
                record(1, b"GET / HTTP/1.1\r\n\r\n", "request", content_type="application/http; msgtype=request"),
                record(2),
                record(3, b"HTTP/1.1 304 Not Modified\r\n\r\n", "revisit"),
                record(4, b"20240518\r\n", "response", url="dns:example.org", content_type="text/dns"),
                record(5, b"fetchTimeMs: 1\r\n", "metadata", content_type="application/warc-fields"),
            ]
        )
    )
    [document] = records
    assert isinstance(document, Document)
    assert document.text.startswith("<html>") and "page 2" in document.text
    assert document.key == "<urn:uuid:2>" and document.url == "http://example.org/2"
    assert document.created == "2024-05-18T01:58:02Z"
    assert document.metadata["content_type"] == "text/html" and document.metadata["charset"] == "utf-8"
    assert skipped == {"warcinfo": 1, "request": 1, "revisit": 1, "dns": 1, "metadata": 1}


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\n", "http_status"),
        (b"HTTP/1.1 301 Moved\r\nLocation: /\r\n", "http_status"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n", "not_html"),
        (b"no http at all\r\n", "quarantine_http_header"),
        (OK + b"Content-Encoding: compress\r\n", "unknown_content_encoding"),
    ],
)
def test_responses_of_no_use_get_a_reason(head, reason):
    rejected = one(http(b"not markup", head))
    assert isinstance(rejected, Rejected) and rejected.reason == reason


def test_empty_bodies_are_rejected():
    rejected = one(http(b" \n"))
    assert isinstance(rejected, Rejected) and rejected.reason == "empty_body"


CHUNKED = b"5\r\n<html\r\n6;name=x\r\n>chunk\r\n0\r\nTrailer: x\r\n\r\n"


@pytest.mark.parametrize(
    ("encode", "transfer", "content"),
    [
        (lambda body: body, None, None),
        (gzip.compress, None, "gzip"),
        (lambda body: gzip.compress(body[:9]) + gzip.compress(body[9:]), None, "x-gzip"),
        (zlib.compress, None, "deflate"),
        (lambda body: zlib.compress(body)[2:-4], None, "deflate"),
        (brotli.compress, None, "br"),
        (zstandard.ZstdCompressor().compress, None, "zstd"),
        (lambda body: gzip.compress(brotli.compress(body)), None, "br, gzip"),
        (lambda body: b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body), "chunked", None),
        (lambda body: b"%x\r\n%s\r\n0\r\n\r\n" % (len(gzip.compress(body)), gzip.compress(body)), "chunked", "gzip"),
        (lambda body: body, "chunked", "gzip"),  # stored decoded, headers left standing
        (lambda body: body, None, "br"),
    ],
)
def test_bodies_are_decoded(encode, transfer, content):
    body = page(3)
    assert decode_body(encode(body), transfer, content) == body


def test_chunks_are_joined_and_cut_ones_kept():
    assert decode_body(CHUNKED, "chunked", None) == b"<html>chunk"
    assert decode_body(CHUNKED[:16], "chunked", None) == b"<html"
    with pytest.raises(UndecodableError, match="quarantine_chunked"):
        decode_body(b"5\r\n<html\r\nnonsense\r\nmore", "chunked", None)


def test_bodies_cut_by_the_crawler_give_their_beginning():
    body = page(4, 20_000)
    cut = decode_body(gzip.compress(body)[:1500], None, "gzip")
    assert 0 < len(cut) < len(body) and body.startswith(cut)


@pytest.mark.parametrize("coding", ["br", "deflate"])
def test_undecodable_bodies_are_quarantined(coding):
    rejected = one(http(b"\x01\x02\xff" * 40, OK + f"Content-Encoding: {coding}\r\n".encode()))
    assert isinstance(rejected, Rejected)
    assert rejected.reason == {"br": "quarantine_brotli", "deflate": "quarantine_deflate"}[coding]


GREEK = "<html><body>" + "Καλημέρα κόσμε, αυτό είναι ένα κείμενο. " * 9 + "</body></html>"


@pytest.mark.parametrize(
    ("head", "body", "charset"),
    [
        (b"text/html; charset=ISO-8859-7", GREEK.encode("iso-8859-7"), "iso-8859-7"),
        (b"text/html", b'<html><meta charset="iso-8859-7">' + GREEK[6:].encode("iso-8859-7"), "iso-8859-7"),
        (b"text/html; charset=utf-8", b"\xff\xfe" + GREEK.encode("utf-16-le"), "utf-16-le"),
        (b"text/html", b"\xff\xfe\0\0" + GREEK.encode("utf-32-le"), "utf-32-le"),
        (b"text/html", GREEK.encode(), "utf-8"),
    ],
)
def test_charset_of_header_meta_mark_or_detection(head, body, charset):
    document = one(http(body, b"HTTP/1.1 200 OK\r\nContent-Type: " + head + b"\r\n"))
    assert isinstance(document, Document)
    assert "Καλημέρα κόσμε" in document.text
    assert codecs.lookup(document.metadata["charset"]).name == codecs.lookup(charset).name


def test_declared_utf8_that_is_not_is_overruled_by_detection():
    body = ("<html><body>" + "Привет, мир, это обычный русский текст. " * 9).encode("windows-1251")
    document = one(http(body))
    assert isinstance(document, Document) and "Привет, мир" in document.text


def test_wet_conversions_are_text():
    document = one(
        "Grüße\n".encode(),
        kind="conversion",
        content_type="text/plain",
        extra="WARC-Identified-Content-Language: deu,eng\r\n",
    )
    assert isinstance(document, Document) and document.text == "Grüße\n"
    assert document.metadata["content_type"] == "text/plain" and document.metadata["languages"] == "deu,eng"


def test_wat_gives_title_description_and_links():
    head = {"Title": "A page ", "Metas": [{"name": "description", "content": "about"}]}
    links = [{"path": "A@/href", "url": "/next", "text": "on"}, {"path": "IMG@/src"}]
    html = {"HTTP-Response-Metadata": {"HTML-Metadata": {"Head": head, "Links": links}}}
    envelope = json.dumps({"Envelope": {"Payload-Metadata": html}}).encode()
    document = one(envelope, kind="metadata", content_type="application/json")
    assert isinstance(document, Document) and document.text == "A page\nabout"
    assert document.metadata["links"] == [{"url": "/next", "text": "on"}]


def test_broken_wat_is_quarantined():
    rejected = one(b"{broken", kind="metadata", content_type="application/json")
    assert isinstance(rejected, Rejected) and rejected.reason == "quarantine_wat"


def test_file_without_a_record_is_not_what_its_name_says():
    with pytest.raises(UserError, match=r"test\.warc\.gz: is not what its name says"):
        read(b"<html>no archive</html>" * 9)


@needs_samples
def test_real_crawls():
    counts = {}
    for name in ("creativecommons/sample-0000", "creativecommons/sample-0001", "resiliparse/warcfile"):
        skipped: Counter[str] = Counter()
        records = list(read_warc_file(SAMPLES / f"{name}.warc.gz", skipped))
        assert all(isinstance(record, Document) for record in records)
        counts[name] = (len(records), skipped["request"])
    assert counts == {
        "creativecommons/sample-0000": (22, 22),
        "creativecommons/sample-0001": (15, 15),
        "resiliparse/warcfile": (16, 17),
    }


@needs_samples
def test_one_capture_as_warc_wet_and_a_clipped_file():
    skipped: Counter[str] = Counter()
    [page_] = read_warc_file(SAMPLES / "commoncrawl/whirlwind.warc.gz", skipped)
    [text] = read_warc_file(SAMPLES / "commoncrawl/whirlwind.warc.wet.gz", skipped)
    assert isinstance(page_, Document) and isinstance(text, Document)
    assert page_.url == text.url == "https://an.wikipedia.org/wiki/Escopete"
    [clipped] = read_warc_file(SAMPLES / "resiliparse/clipped.warc.gz", skipped)
    assert isinstance(clipped, Rejected) and clipped.reason == "quarantine_truncated"
