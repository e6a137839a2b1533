"""Generated data files of each kind: valid ones, unusual ones, and valid ones that were damaged.

Everything follows from a seed: `make(kind, seed)` gives the same bytes again.
"""

import bz2
import gzip
import html
import io
import json
import lzma
import random
import re
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from tests.llm_core.corpus.sources import office_files

WORDS = [
    *[
        "river",
        "town",
        "hill",
        "snow",
        "雪",
        "नदी",
        "ខ្មែរ",
        "café",
        "<b>",
        "&amp;",
        "]]",
        "{{",
        "1e999",
        "NaN",
        "'",
        '"',
        "\\",
    ],
    *"\u2028\u2029\u0085\u200b\0\ufeff\r\t\x1b",
    "👩\u200d👧",
]
ENCODINGS = ("utf-8", "utf-16", "utf-8-sig", "latin-1", "cp1252", "shift_jis", "utf-7", "utf-32")


_gzip = partial(gzip.compress, mtime=0)  # else the time of day is in the file


def text(draw: random.Random) -> str:
    """Some words, at times many times over."""
    return " ".join(draw.choices(WORDS, k=draw.randrange(1, 40))) * (
        draw.randrange(1, 60) if draw.random() < 0.03 else 1
    )


def value(draw: random.Random, depth: int = 0) -> Any:
    """Any JSON value, now and then very deep."""
    kind = draw.randrange(14 if depth < 4 else 9)
    if kind == 13 and depth == 0 and draw.random() < 0.1:
        return _Raw(b"[" * draw.choice((99, 101, 5000)))
    plain = [
        None,
        True,
        draw.random(),
        draw.randrange(-(2**70), 2**70),
        "",
        text(draw),
        float("nan"),
        "\ud800",
        "a" * 300,
    ]
    if kind < len(plain):
        return plain[kind]
    if kind < 11:
        return [value(draw, depth + 1) for _ in range(draw.randrange(4))]
    return {draw.choice(["a", "id", "", "\ud801", "é"]): value(draw, depth + 1) for _ in range(draw.randrange(4))}


class _Raw(bytes):
    """Bytes that are written into a line of JSON unchanged."""


def row(draw: random.Random) -> dict[str, Any]:
    """One row of a data set, mostly with a text."""
    found: dict[str, Any] = {"text": text(draw) if draw.random() < 0.9 else value(draw)}
    for name in ("id", "url", "language", "license", "created", "source", "metadata", "meta", "date", "more"):
        if draw.random() < 0.3:
            found[name] = draw.choice([str(draw.randrange(3)), value(draw), f"http://h.example/{draw.randrange(5)}"])
    return found


def json_line(draw: random.Random) -> bytes:
    """One line of JSON, or something that is none."""
    if draw.random() < 0.05:
        return draw.choice(
            [b"", b"   ", b"{", b"null", b"[]", b"\xff\xfe", b"{'text': 'a'}", b'{"text": "a"},', b"\0" * 9]
        )
    found = row(draw)
    raw = {name: inner for name, inner in found.items() if isinstance(inner, _Raw)}
    line = json.dumps({**found, **dict.fromkeys(raw, 0)}, ensure_ascii=draw.random() < 0.5)
    data = line.encode("utf-8", "surrogatepass")
    for name, inner in raw.items():
        data = data[:-1] + b', "' + name.encode() + b'": ' + inner + b"]" * (len(inner) - draw.randrange(2)) + b"}"
    return data


def jsonl(draw: random.Random) -> bytes:
    """JSON lines, with either line end, at times with a byte order mark or as one array."""
    lines = [json_line(draw) for _ in range(draw.randrange(6))]
    if draw.random() < 0.03:
        return b"[" + b",".join(lines) + b"]"
    mark = b"\xef\xbb\xbf" if draw.random() < 0.1 else b""
    return mark + draw.choice([b"\n", b"\n", b"\r\n", b"\r", b"\n\n"]).join(lines) + draw.choice([b"\n", b""])


def separated(draw: random.Random, separator: str) -> bytes:
    """CSV or TSV, with headers that repeat, rows of other lengths and quotes that do not end."""
    header = ["text", *draw.sample(["id", "url", "a", "b", "text"], k=draw.randrange(4))]
    lines = [separator.join(header)]
    for _ in range(draw.randrange(6)):
        cells = [
            draw.choice(["%s", '"%s"', '"%s"']) % text(draw) if draw.random() < 0.9 else '"' + text(draw)
            for _ in header
        ]
        lines.append(separator.join(cells[: len(cells) if draw.random() < 0.9 else draw.randrange(3)]))
    return "\n".join(lines).encode(draw.choice(["utf-8", "utf-8-sig", "utf-16", "latin-1"]), "replace")


def table(draw: random.Random) -> bytes:
    """Parquet with columns of any type under the names that documents use."""
    rows = draw.randrange(5)
    names = draw.sample(["id", "url", "language", "metadata", "created", "x"], k=draw.randrange(5))
    columns = [_column(draw, rows) if draw.random() < 0.2 else pa.array([text(draw) for _ in range(rows)], pa.string())]
    columns += [_column(draw, rows) for _ in names]
    names = ["text", *names]
    if draw.random() < 0.05:
        names, columns = [*names, "text"], [*columns, columns[0]]
    sink = io.BytesIO()
    packing = draw.choice(["zstd", "snappy", "gzip", "none"])
    try:
        pq.write_table(
            pa.table(columns, names=names), sink, compression=packing, row_group_size=draw.choice([1, 2, 100])
        )
    except (pa.ArrowException, ValueError):
        return table(draw)
    return sink.getvalue()


def _column(draw: random.Random, rows: int) -> pa.Array:
    words = [draw.choice([None, text(draw)]) for _ in range(rows)]
    numbers = [draw.choice([None, draw.randrange(-(2**62), 2**62)]) for _ in range(rows)]
    makers: list[Callable[[], pa.Array]] = [
        lambda: pa.nulls(rows),
        lambda: pa.nulls(rows, pa.string()),
        lambda: pa.array(words, pa.string()),
        lambda: pa.array(words, pa.large_string()).dictionary_encode(),
        lambda: pa.array([draw.randbytes(5) for _ in range(rows)], pa.binary()),
        lambda: pa.array([draw.randbytes(5) for _ in range(rows)], pa.binary()).view(pa.string()),
        lambda: pa.array(numbers, pa.int64()),
        lambda: pa.array(numbers, pa.timestamp(draw.choice(["s", "ms", "us", "ns"]))),
        lambda: pa.array([draw.random() for _ in range(rows)]),
        lambda: pa.array([[word] * draw.randrange(3) for word in words], pa.list_(pa.string())),
        lambda: pa.array([{"a": word, "n": [number]} for word, number in zip(words, numbers, strict=True)]),
        lambda: pa.array([[("k", word)] for word in words], pa.map_(pa.string(), pa.string())),
        lambda: pa.array([json.dumps({"a": word}) for word in words]),
        lambda: pa.array([True] * rows),
        lambda: pa.array([draw.randrange(10**6) for _ in range(rows)], pa.date32()),
        lambda: pa.array([draw.randrange(80000) for _ in range(rows)], pa.time32("s")),
        lambda: pa.array([draw.randrange(10**9) for _ in range(rows)], pa.duration("us")),
    ]
    return draw.choice(makers)()


TAGS = ["<p>", "</p>", "<div", ">", "<!--", "-->", "<script>", "</script>", "<table>", "<pre>"]
TAGS += ["&#xD800;", "<![CDATA[", "<br/>"]


def page(draw: random.Random) -> bytes:
    """A page of HTML in some encoding, with another one declared."""
    tags = draw.choices(TAGS, k=20)
    body = "".join(f"{tag}{text(draw)}" for tag in tags)
    head = f'<html><head><meta charset="{draw.choice([*ENCODINGS, "nonsense", "utf-16"])}"></head><body>'
    return (head + body).encode(draw.choice(ENCODINGS), "replace")


def warc(draw: random.Random) -> bytes:
    """WARC records of every type, with bodies encoded in every way and headers that lie."""
    records = []
    for number in range(draw.randrange(5)):
        body = page(draw)
        coding = draw.choice(["", "gzip", "deflate", "br", "zstd", "x"])
        packed = {"gzip": _gzip, "zstd": zstandard.compress}.get(coding, bytes)(body)
        heads = [b"HTTP/1.1 200 OK", f"Content-Type: {draw.choice(['text/html', 'text/plain', '', 'x'])}".encode()]
        heads += [f"Content-Encoding: {coding}".encode()] if coding else []
        heads += [b"Transfer-Encoding: chunked"] if draw.random() < 0.1 else []
        block = b"\r\n".join(heads) + b"\r\n\r\n" + packed
        kind = draw.choice(["response"] * 6 + ["resource", "conversion", "metadata", "request", "warcinfo", "odd"])
        length = len(block) if draw.random() < 0.9 else draw.choice([0, 10, len(block) * 2, 10**12, -1])
        head = (
            f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:{draw.randrange(4)}>\r\n"
            f"WARC-Target-URI: http://h.example/{number}\r\nContent-Type: application/http; msgtype=response\r\n"
            f"Content-Length: {length}\r\n\r\n"
        )
        record = head.encode() + block + b"\r\n\r\n"
        records.append(record)
    packer = draw.choice([bytes, _gzip, zstandard.compress])
    return b"".join(map(packer, records)) if draw.random() < 0.8 else packer(b"".join(records))


def archive(draw: random.Random, tar_mode: str = "") -> bytes:
    """A zip or tar archive, compressed in some way, with names that lead elsewhere."""
    sink = io.BytesIO()
    names = [
        draw.choice(["a/x.txt", "../x.txt", "/x.txt", "a/x.txt", "é.txt", "x" * 200]) for _ in range(draw.randrange(4))
    ]
    if not tar_mode and draw.random() < 0.7:
        with zipfile.ZipFile(
            sink, "w", draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
        ) as made:
            for name in sorted(set(names)):
                made.writestr(name, text(draw).encode("utf-8", "replace"))
        return sink.getvalue()
    with tarfile.open(fileobj=sink, mode=tar_mode or draw.choice(["w", "w:gz", "w:bz2", "w:xz"])) as tar:
        for name in names:
            data = text(draw).encode("utf-8", "replace")
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return sink.getvalue()


def pdf(draw: random.Random) -> bytes:
    """A PDF with some pages, at times empty or encrypted."""
    pages = [text(draw).encode("latin-1", "ignore").decode("latin-1") for _ in range(draw.randrange(1, 4))]
    return office_files.pdf([draw.choice([page, page, ""]) for page in pages], "A title", draw.choice(["", "", "x"]))


def office(draw: random.Random, kind: str) -> bytes:
    """A DOCX, PPTX, ODT or EPUB, at times with one of its members damaged."""
    words = [re.sub(r"[^\w ]", "", text(draw)) for _ in range(draw.randrange(1, 5))]
    markup = "".join(f"<{draw.choice('pbi')}>{text(draw)}" for _ in range(4))
    made = {
        "docx": lambda: office_files.docx([draw.choice([word, (1, word), [word], [[word, word]]]) for word in words]),
        "pptx": lambda: office_files.pptx([(word, word, word) for word in words]),
        "odt": lambda: office_files.odt("".join(f"<text:p>{word}</text:p>" for word in words)),
        "epub": lambda: office_files.epub([draw.choice([f"<h1>{word}</h1>", markup]) for word in words]),
    }[kind]()
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        members: dict[str, str | bytes] = {name: archive.read(name) for name in archive.namelist()}
    if draw.random() < 0.5:
        name = draw.choice(sorted(members))
        members[name] = damaged(draw, bytes(members[name]))  # type: ignore[arg-type]
    return office_files.zipped(members)


def wiki(draw: random.Random) -> bytes:
    """A dump of MediaWiki whose pages are marks in any order."""
    marks = [
        "{{",
        "}}",
        "[[",
        "]]",
        "\n{|",
        "\n|}",
        "<ref>",
        "</ref>",
        "<!--",
        "-->",
        "'''",
        "==",
        "|",
        "\n*",
        "<a b='",
    ]
    pages = []
    for number in range(draw.randrange(4)):
        inner = "".join(draw.choice([draw.choice(marks), text(draw)]) for _ in range(20))
        inner = html.escape(re.sub("[\0\x1b]", "", inner)) if draw.random() < 0.9 else inner
        redirect = '<redirect title="x" />' if draw.random() < 0.2 else ""
        pages.append(
            f"<page><title>{number}</title><ns>{draw.choice('0001')}</ns><id>{draw.randrange(3)}</id>{redirect}"
            f"<revision><id>1</id><text>{inner}</text></revision></page>"
        )
    return f"<mediawiki><siteinfo/>{''.join(pages)}</mediawiki>".encode("utf-8", "replace")


def damaged(draw: random.Random, data: bytes) -> bytes:
    """The bytes cut, flipped, doubled or with others between them."""
    for _ in range(draw.randrange(1, 4)):
        if not data:
            return draw.randbytes(draw.randrange(20))
        place = draw.randrange(len(data))
        how = draw.randrange(6)
        if how == 0:
            data = data[:place]
        elif how == 1:
            data = data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]
        elif how == 2:
            data = data[:place] + draw.randbytes(draw.randrange(1, 20)) + data[place:]
        elif how == 3:
            data = data[:place] + data[place : place + draw.randrange(1, 200)] * draw.randrange(2, 5) + data[place:]
        elif how == 4:
            data = data[place:]
        else:
            end = place + draw.randrange(1, 20)
            data = data[:place] + b"\xff" * (end - place) + data[end:]
    return data


def _packed(packer: Callable[[bytes], bytes]) -> Callable[[random.Random], bytes]:
    def make(draw: random.Random) -> bytes:
        return b"".join(packer(jsonl(draw)) for _ in range(draw.randrange(1, 3)))

    return make


KINDS: dict[str, tuple[str, Callable[[random.Random], bytes]]] = {  # kind -> (ending, maker)
    "jsonl": (".jsonl", jsonl),
    "csv": (".csv", lambda draw: separated(draw, ",")),
    "tsv": (".tsv", lambda draw: separated(draw, "\t")),
    "parquet": (".parquet", table),
    "warc": (".warc", warc),
    "gz": (".jsonl.gz", _packed(_gzip)),
    "zst": (".jsonl.zst", _packed(zstandard.compress)),
    "bz2": (".jsonl.bz2", _packed(bz2.compress)),
    "xz": (".jsonl.xz", _packed(lzma.compress)),
    "txt": (".txt", lambda draw: text(draw).encode(draw.choice(ENCODINGS), "replace")),
    "html": (".html", page),
    "zip": (".zip", archive),
    "tgz": (".tar.gz", partial(archive, tar_mode="w:gz")),
    "wiki": (".xml", wiki),
    "pdf": (".pdf", pdf),
    **{kind: (f".{kind}", partial(office, kind=kind)) for kind in ("docx", "pptx", "odt", "epub")},
}


def make(kind: str, seed: int) -> bytes:
    """The file of a kind and a seed: half of them damaged."""
    draw = random.Random(f"{kind}:{seed}")
    data = KINDS[kind][1](draw)
    return damaged(draw, data) if draw.random() < 0.5 else data
