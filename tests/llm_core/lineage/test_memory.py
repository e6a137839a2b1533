"""Building the index takes no more memory for more ledger rows, nor for longer texts."""

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from llm_core.formats.documents import DocumentWriter, document_id
from llm_core.formats.ledger import LedgerWriter

PROBE = """
import re, sys, threading
from pathlib import Path
from llm_core.lineage.index import open_index
def private():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1])
peak, done = private(), threading.Event()
def watch():
    global peak
    while not done.wait(0.01):
        peak = max(peak, private())
watcher = threading.Thread(target=watch)
watcher.start()
try:
    open_index(Path(sys.argv[1]), Path(sys.argv[2]))
finally:
    done.set()
    watcher.join()
print(peak >> 10)
"""
WORDS = " ".join(f"word{number}" for number in range(2000))


def private_megabytes(folder: Path, ledger_rows: int, repeats: int) -> int:
    """Peak of the private memory while the index of 400 texts of `repeats` times 17 KB is built."""
    ids = [document_id("web", str(number)) for number in range(400)]
    with DocumentWriter(folder / "raw/web/documents") as writer:
        for name in ids:
            writer.write_rows([{"id": name, "source": "web", "text": f"{name} " + " ".join([WORDS] * repeats)}])
    with LedgerWriter(folder / "raw/web/ledger", "fetch") as ledger:
        for start in range(0, ledger_rows, 50_000):
            names = pa.array(
                [f"{number * 2654435761 % 2**32:08x}{number:024x}" for number in range(start, start + 50_000)]
            )
            texts = {"source": "web", "verdict": "kept", "shard": "data/raw/web/documents/00000.parquet"}
            ledger.record_columns(50_000, id=names, **{key: pa.repeat(value, 50_000) for key, value in texts.items()})
    command = [sys.executable, "-c", PROBE, str(folder), str(folder / "scratch")]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


@pytest.mark.slow
def test_many_times_the_ledger_rows_take_no_more_private_memory(tmp_path: Path) -> None:
    """DuckDB holds some 600 bytes of a row that it sorts: 1.2 GB of 2 million, were they not sorted in runs on disk."""
    assert private_megabytes(tmp_path, ledger_rows=2_000_000, repeats=1) < 500


@pytest.mark.slow
def test_long_texts_take_no_more_private_memory(tmp_path: Path) -> None:
    """400 texts of half a megabyte, read by their number instead of their size, would be 200 MB, several times over."""
    assert private_megabytes(tmp_path, ledger_rows=50_000, repeats=30) < 450
