"""One document that hangs in native code is quarantined by name; the others are processed as without it."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from llm_core.corpus.cleaning.stage import clean
from llm_core.errors import UserError
from llm_core.params.cleaning import Cleaning
from llm_core.runtime.engine import run

# A program of its own: its worker is forked with the step that hangs, which needs a process without other threads.
PROGRAM = """
from pathlib import Path

from llm_core.corpus.cleaning.stage import clean
from llm_core.corpus.cleaning.steps import STEPS
from llm_core.params.cleaning import Cleaning
from llm_core.params.launch import CleaningLaunch


class Hanging:
    # One call holds Python's lock for hours, so that no signal gets through.
    def __call__(self, batch):
        for row in batch.alive():
            if "hang" in batch.texts[row]:
                pow(7, 10**9)
            batch.change(row, batch.texts[row].upper(), "hanging")


STEPS["hanging"] = lambda params: Hanging()
params = Cleaning(steps=["hanging"], max_seconds=4)
metrics = clean(["in.jsonl"], Path("out"), params, launch=CleaningLaunch(workers=1))
print(metrics["documents_in"], metrics["documents_kept"])
"""


def test_what_takes_too_long_is_quarantined(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    texts = ["a river", "hang here", "a town", "hang again", "a wood"]
    source.write_text("".join(json.dumps({"id": str(row), "text": text}) + "\n" for row, text in enumerate(texts)))
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5", "3"]
    rows = pq.read_table(next((tmp_path / "out/ledger").glob("*.parquet"))).to_pylist()
    assert [row["reason"] for row in rows] == ["hanging", "quarantine_time", "hanging", "quarantine_time", "hanging"]
    assert [row["score"] for row in rows] == [None, 4, None, 4, None]
    kept = pq.read_table(next((tmp_path / "out/documents").glob("*.parquet")))["text"].to_pylist()
    assert kept == ["A RIVER", "A TOWN", "A WOOD"]
    assert not (tmp_path / "out/.pieces").exists()


def test_a_large_document_is_set_aside_unseen(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": "1", "text": "short"}\n{"id": "2", "text": "%s"}\n' % ("long " * 100))
    metrics = clean([str(source)], tmp_path / "out", Cleaning(steps=["repair"], max_document_bytes=100))
    rows = pq.read_table(next((tmp_path / "out/ledger").glob("*.parquet"))).to_pylist()
    assert (rows[1]["reason"], rows[1]["score"], metrics["documents_kept"]) == ("quarantine_size", 500, 1)


def die(item: int) -> int:
    import os

    return os._exit(1) if item else item


def test_a_worker_that_dies_otherwise_is_one_line() -> None:
    with pytest.raises(UserError, match="a worker process was killed"):
        list(run(die, [0, 1], "local", 1, retry=lambda item: False))
