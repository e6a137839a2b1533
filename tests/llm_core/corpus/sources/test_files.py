"""Files of every kind below a source's path: read, or quarantined, or counted by reason; none is lost silently."""

import bz2
import gzip
import json
import lzma
import os
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from pydantic import ValidationError

from llm_core.errors import UserError
from llm_core.params.sources import FilesSource
from tests.llm_core.corpus.sources.warc_files import packed, record

PACKERS = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def source(*paths, **settings) -> FilesSource:
    return FilesSource(kind="files", paths=[str(path) for path in paths], **settings)


def line(text: str, **others) -> bytes:
    return json.dumps({"text": text, **others}).encode() + b"\n"


def test_every_ending_in_either_case(tmp_path, run):
    names = [f"{kind}{end}" for kind in (".jsonl", ".json", ".ndjson", ".JSONL") for end in PACKERS]
    for number, name in enumerate(names):
        end = Path(name).suffix if name.count(".") == 2 else ""
        (tmp_path / f"{number:02d}{name if number % 2 else name.upper()}").write_bytes(PACKERS[end](line(name)))
    (tmp_path / "PAGE.TXT").write_text("a page")
    pq.write_table(pa.table({"text": ["a row"]}), tmp_path / "TABLE.PARQUET")
    (tmp_path / "A.WARC.GZ").write_bytes(packed([record(1)]))
    (tmp_path / "T.CSV").write_text('text,url\n"a comma, and\na line",http://example.org\n')
    (tmp_path / "t.tsv.gz").write_bytes(gzip.compress(b'text\turl\na "quote\thttp://example.org\n'))
    result = run(source(tmp_path))
    texts = {row["text"] for row in result.documents}
    assert {*names, "a page", "a row", "a comma, and\na line", 'a "quote'} <= texts
    assert len(result.documents) == len(names) + 5 and not result.dropped


def test_files_that_are_not_read_are_counted_and_named_in_one_line(tmp_path, run, capfd):
    folder, elsewhere = tmp_path / "corpus", tmp_path / "elsewhere"
    for place in (folder / "_notes", folder / ".git", elsewhere):
        place.mkdir(parents=True)
        (place / "x.txt").write_text("not read")
    (folder / "good.txt").write_text("read")
    for name in ("a.doc", "b.xlsx", "c.rtf", "d.XLSX", "README", "_e.txt", ".f.txt", "g.rar"):
        (folder / name).write_text("not read")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "linked.txt").symlink_to(elsewhere / "x.txt")
    (folder / "broken.txt").symlink_to(elsewhere / "none.txt")
    (folder / "loop.txt").symlink_to("loop.txt")
    os.mkfifo(folder / "fifo.txt")
    with open(os.fsencode(folder) + b"/\xff.txt", "w") as stream:
        stream.write("a name that is not UTF-8")
    result = run(source(folder))
    assert [row["text"] for row in result.documents] == ["read", "not read"]
    assert result.metrics["files_not_read"] == {
        "broken_link": 2,
        "hidden_name": 4,
        "linked_folder": 1,
        "name_not_utf8": 1,
        "no_regular_file": 1,
        "other_ending .doc": 1,
        "other_ending .rtf": 1,
        "other_ending .xlsx": 2,
        "other_ending .rar": 1,
        "other_ending none": 1,
    }
    said = [text for text in capfd.readouterr().err.splitlines() if "files not read" in text]
    assert len(said) == 1 and "2 other_ending .xlsx" in said[0]


def test_a_path_that_is_no_file_of_a_known_kind_is_refused(tmp_path, run):
    os.mkfifo(tmp_path / "fifo.jsonl")
    (tmp_path / "a.doc").write_text("x")
    for name, message in (("fifo.jsonl", "a FIFO"), ("a.doc", "files of this kind are not read")):
        with pytest.raises(UserError, match=message):
            run(source(tmp_path / name))
    (tmp_path / "only").mkdir()
    (tmp_path / "only/a.rtf").write_text("x")
    with pytest.raises(UserError, match=r"not read: 1 other_ending \.rtf"):
        run(source(tmp_path / "only"))


BROKEN = {
    "x.parquet": b"PAR1 and no more",
    "x.jsonl.gz": b"\x1f\x8b and no more",
    "x.jsonl.zst": b"\x28\xb5\x2f\xfd and no more",
    "x.jsonl.bz2": b"BZh and no more",
    "x.jsonl.xz": b"\xfd7zXZ\0 and no more",
    "x.warc.gz": b"<html>an error page</html>",
    "y.parquet": b"<html>an error page</html>",
    "y.jsonl.gz": b"<html>an error page</html>",
    "empty.parquet": b"",
    "empty.jsonl.gz": b"",
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_broken_file_is_quarantined_alone(tmp_path, run, name):
    for number in range(9):
        (tmp_path / f"{number}.jsonl").write_bytes(line(f"text {number}"))
    (tmp_path / name).write_bytes(BROKEN[name])
    result = run(source(tmp_path))
    assert len(result.documents) == 9
    [dropped] = [row for row in result.ledger if row["verdict"] == "dropped"]
    assert dropped["shard"].endswith(name) and dropped["reason"].startswith("quarantine_")
    if BROKEN[name]:
        assert dropped["detail"] or name == "x.warc.gz"


def test_a_source_of_which_every_file_is_broken_is_an_error_that_says_why(tmp_path, run):
    for number in range(3):
        (tmp_path / f"{number}.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match=r"quarantine_parquet: 3.*0\.parquet: cannot be read as Parquet"):
        run(source(tmp_path))


@pytest.mark.parametrize("end", [end for end in PACKERS if end])
def test_a_truncated_file_gives_what_came_before_and_one_quarantined_record(tmp_path, run, end):
    frames = [PACKERS[end](b"".join(line(f"{n} {m}") for m in range(10))) for n in range(3)]
    (tmp_path / f"x.jsonl{end}").write_bytes(b"".join(frames)[:-20])
    result = run(source(tmp_path))
    assert len(result.documents) >= 20 and result.dropped == ["quarantine_truncated"]


def test_lines_that_are_too_deep_or_too_long_are_quarantined_alone(tmp_path, run):
    deep = b'{"text": "a", "x": ' + b"[" * 10_000 + b"]" * 10_000 + b"}\n"
    inside = line("inside", metadata="[" * 10_000)
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "x.jsonl").write_bytes(line("first") + deep + line("x" * 5000) + inside + line("last"))
    result = run(source(folder, max_document_bytes=30_000))
    assert [row["text"][:9] for row in result.documents] == ["first", "x" * 9, "inside", "last"]
    assert result.dropped == ["quarantine_too_deep"]
    result = run(source(folder, max_document_bytes=1000), out="second")
    assert result.dropped == ["quarantine_too_large"] * 3
    (folder / "page.txt").write_text("x" * 1001)
    assert run(source(folder, max_document_bytes=1000), out="third").dropped == ["quarantine_too_large"] * 4


def test_bombs_are_quarantined_by_name(tmp_path, run):
    (tmp_path / "good.jsonl").write_bytes(line("good"))
    bomb = line("x") + (b" " * 9999 + b"\n") * 15_000
    for end in (".gz", ".zst", ".bz2", ".xz"):
        (tmp_path / f"bomb.jsonl{end}").write_bytes(PACKERS[end](bomb))
    # 3 KB of Parquet that are 4 GB of text: one string of 16 MB, named 256 times.
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 256, pa.int32()), pa.array(["x" * (16 << 20)]))
    pq.write_table(pa.table({"text": long}), tmp_path / "bomb.parquet", compression="zstd")
    nested = pa.StructArray.from_arrays([long], ["html"])
    pq.write_table(pa.table({"text": ["t"] * 256, "metadata": nested}), tmp_path / "nested.parquet", compression="zstd")
    nothing = pa.table({"text": pa.nulls(100_000_000, pa.string())})
    pq.write_table(nothing, tmp_path / "nothing.parquet", row_group_size=100_000_000)
    assert (tmp_path / "bomb.parquet").stat().st_size < 10_000
    result = run(source(tmp_path))
    assert result.metrics["dropped_by_reason"] == {"quarantine_decompression_bomb": 7}
    assert "good" in [row["text"] for row in result.documents]


def test_parquet_of_every_make_is_read_or_refused_by_name(tmp_path, run):
    texts = ["a river", "a town", "a hill"]

    def put(name, **columns):
        pq.write_table(pa.table({"text": texts, **columns}), tmp_path / f"{name}.parquet")

    put("struct", metadata=[{"page": n} for n in range(3)], language=[["en"]] * 3, id=[None, "a", "b"])
    put(
        "odd",
        created=pa.array([0, 1, 2], pa.timestamp("s")),
        id=[1.5, 2.5, None],
        url=[b"http://x.example", None, None],
    )
    pq.write_table(pa.table({"text": [*texts[:2], None]}), tmp_path / "null.parquet")
    invalid = pa.array([b"\xff a hill"] * 3).cast(pa.binary()).view(pa.string())
    put("utf8", url=invalid)
    twice = pa.table([pa.array(texts), pa.array(texts)], names=["text", "text"])
    pq.write_table(twice, tmp_path / "twice.parquet")
    pq.write_table(pa.table({"text": [1, 2, 3]}), tmp_path / "number.parquet")
    result = run(source(tmp_path))
    assert result.metrics["dropped_by_reason"] == {"quarantine_no_text": 4, "quarantine_repeated_column": 1}
    rows = {row["shard"].rpartition("/")[2]: None for row in result.ledger}
    assert len(rows) == 6
    found = [row for row in result.documents if row["language"]]
    assert [row["language"] for row in found] == ["en"] * 3 and json.loads(found[1]["metadata"])["page"] == 1
    assert any(row["created"] == "1970-01-01T00:00:01" for row in result.documents)
    assert result.metrics["documents_changed"] == 3


def test_half_a_surrogate_pair_anywhere_is_replaced_and_said(tmp_path, run):
    (tmp_path / "x.jsonl").write_bytes(
        b'{"text": "a \\ud800 b", "url": "http://x/\\udc00", "id": "\\ud800", "tag": "\\ud800", "\\ud801": 1}\n'
    )
    [document] = (result := run(source(tmp_path))).documents
    assert document["text"] == "a ? b" and document["url"] == "http://x/?"
    assert json.loads(document["metadata"])["tag"] == "?"
    assert [row["reason"] for row in result.ledger] == ["surrogates_replaced"]


def test_a_file_that_is_rewritten_while_it_is_read_is_an_error(tmp_path, run):
    file = tmp_path / "x.jsonl"
    file.write_bytes(line("x" * 1000) * 20_000)
    stop = threading.Event()

    def touch() -> None:
        while not stop.is_set():
            os.utime(file)

    writer = threading.Thread(target=touch)
    writer.start()
    try:
        with pytest.raises(UserError, match="was changed while it was read"):
            run(source(file))
    finally:
        stop.set()
        writer.join()


def test_limits_are_checked():
    with pytest.raises(ValidationError):
        source("x", max_document_bytes=1 << 40)


def test_markup_and_source_code_are_documents_as_they_are_written(tmp_path, run):
    texts = {
        "a.rst": "Title\n=====\n\nA page.",
        "b.PY": "def add(a, b):\n    return a + b",
        "c.org": "* Head",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    result = run(source(tmp_path))
    assert sorted(row["text"] for row in result.documents) == sorted(texts.values()) and not result.dropped


def test_the_ledger_names_the_file_of_each_page_though_pages_are_fetched_in_groups(tmp_path, run, site):
    for number in range(12):
        (tmp_path / f"{number:02d}.txt").write_text(f"page {number}")
    (tmp_path / "05.txt").write_bytes(b"\0 no text")
    (tmp_path / "07.txt").write_text("x" * 1001)
    for number in range(3):
        site.files[f"/{number}.txt"] = b"\0 no text"
    paths = [f"{site.address}/0.txt?token={number}" for number in range(3)]  # differ in a secret alone
    result = run(source(tmp_path, *paths, max_document_bytes=1000))
    assert [Path(row["shard"]).name for row in result.ledger[:12]] == [f"{number:02d}.txt" for number in range(12)]
    kept = {row["id"]: row["shard"] for row in result.ledger if row["verdict"] != "dropped"}
    assert {row["id"]: json.loads(row["metadata"])["file"] for row in result.documents} == kept
    assert {row["offset"] for row in result.ledger} == {0}
    assert [row["shard"].rpartition("/")[2] for row in result.ledger[12:]] == [
        f"0.txt?token=***{'+' * n}" for n in range(3)
    ]
    assert len({row["id"] for row in result.ledger}) == 15
