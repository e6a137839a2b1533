"""The stage: every document in is kept or dropped with a reason, whatever the input holds, and bytes do not change."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_core.corpus.cleaning.stage import clean
from llm_core.errors import UserError
from llm_core.formats.documents import read_documents
from llm_core.formats.ledger import read_ledger
from llm_core.params.cleaning import Cleaning
from llm_core.params.launch import CleaningLaunch
from llm_core.runtime.digests import content_digest

LONG = "A sentence of some length, long enough to be kept by every rule that is on here. " * 3


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_bytes(b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows))
    return path


def texts(out: Path) -> list[str]:
    return [text for batch in read_documents(out) for text in batch.column("text").to_pylist()]


def verdicts(out: Path) -> list[tuple[str, str | None, int]]:
    columns = ["verdict", "reason", "offset"]
    return [tuple(row[name] for name in columns) for batch in read_ledger(out) for row in batch.to_pylist()]


def test_bad_records_are_counted_never_lost(tmp_path: Path) -> None:
    file = write_jsonl(
        tmp_path / "odd.jsonl",
        [
            {"id": "a", "text": LONG},
            b'{"id": "b", "text": "caf\xe9"}',
            b"not json",
            {"id": "c", "text": "nul \0 and \x1b[31mescape\x1b[0m " + LONG},
            {"id": "d", "text": ""},
            {"id": "e", "text": " \n\t "},
            b'{"id": "f", "text": "\\ud800 ' + LONG.encode() + b'"}',
        ],
    )
    metrics = clean([file], tmp_path / "out", Cleaning(steps=["repair"]))
    assert metrics["documents_in"] == 7 == metrics["documents_kept"] + metrics["documents_dropped"]
    assert metrics["dropped_by_reason"] == {"empty": 2, "quarantine_json": 2}
    assert [row[1:] for row in verdicts(tmp_path / "out") if row[0] == "dropped"] == [
        ("quarantine_json", 2),
        ("quarantine_json", 3),
        ("empty", 5),
        ("empty", 6),
    ]
    assert not any("\0" in text or "\x1b" in text for text in texts(tmp_path / "out"))
    samples = [json.loads(line) for line in (tmp_path / "out" / "drops.jsonl").read_text().splitlines()]
    assert sorted(sample["reason"] for sample in samples) == ["empty", "empty", "quarantine_json", "quarantine_json"]


def test_invalid_utf8_in_parquet_is_replaced(tmp_path: Path) -> None:
    bad = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\6\0\0\0"), pa.py_buffer(b"caf\xe9 x")])
    pq.write_table(pa.table({"id": ["a"], "text": bad}), tmp_path / "bad.parquet")
    clean([tmp_path / "bad.parquet"], tmp_path / "out", Cleaning(steps=[]))
    assert texts(tmp_path / "out") == ["caf\ufffd x"]
    assert [row[:2] for row in verdicts(tmp_path / "out")] == [("changed", "invalid_utf8")]


def test_no_document_at_all_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(UserError, match="no document in"):
        clean([tmp_path / "empty.jsonl"], tmp_path / "out", Cleaning())
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match="no step or recipe 'gofer'"):
        clean([tmp_path / "empty.jsonl"], tmp_path / "out", Cleaning(steps=["gofer"]))


def test_bytes_do_not_depend_on_workers_or_pieces(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        rows = [{"id": f"{name}{n}", "text": f"{n}. {LONG * (n % 7)}"} for n in range(400)]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    files = sorted(tmp_path.glob("*.jsonl"))
    for workers in (1, 2):
        params = Cleaning(steps=["repair"], min_characters=20)
        clean(files, tmp_path / f"out{workers}", params, launch=CleaningLaunch(workers=workers))
    assert content_digest(tmp_path / "out1") == content_digest(tmp_path / "out2")


def test_a_decompression_bomb_is_one_line_from_a_worker_too(tmp_path: Path) -> None:
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 256, pa.int32()), pa.array(["x" * (8 << 20)]))
    pq.write_table(pa.table({"text": long}), tmp_path / "bomb.parquet", compression="zstd")
    pq.write_table(pa.table({"text": ["a sound document"]}), tmp_path / "sound.parquet")
    with pytest.raises(UserError, match=r"bomb\.parquet: \d+ bytes become"):
        clean([tmp_path], tmp_path / "out", Cleaning(steps=["repair"]), launch=CleaningLaunch(workers=2))


def test_metadata_that_is_nested_too_deep_stays_as_it_is(tmp_path: Path) -> None:
    deep = "[" * 10_000 + "]" * 10_000
    rows = pa.table({"text": ["<p>a page that is long enough to be kept by every step</p>"], "metadata": [deep]})
    pq.write_table(rows, tmp_path / "a.parquet")
    clean([tmp_path / "a.parquet"], tmp_path / "out", Cleaning(steps=["repair"], min_characters=1))
    [row] = pq.read_table(tmp_path / "out/documents").to_pylist()
    assert deep in row["metadata"]
