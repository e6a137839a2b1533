"""Trace at scale: build the index of N ledger rows, then ask it by id, URL and text.

    python benchmarks/lineage.py --rows 10000000

Five stages judge each document, so 10 million rows are 2 million documents. Prints seconds
and the peak memory of the process, at a tenth of the size too, so that growth can be seen.
"""

import argparse
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from llm_core.documents import SCHEMA, DocumentWriter
from llm_core.ledger import LedgerWriter

STAGES = ("fetch", "clean", "dedup", "decontaminate", "split")
BATCH = 10_000


def make(folder: Path, documents: int) -> None:
    """A finished pipeline of random sentences."""
    generator = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(50_000)])
    with DocumentWriter(folder / "raw/web/documents") as writer:
        for start in range(0, documents, BATCH):
            numbers = range(start, min(start + BATCH, documents))
            picks = words[generator.zipf(1.3, size=(len(numbers), 40)) % len(words)]
            columns = {
                "id": [f"{number * 2654435761 % 2**32:08x}{number:024x}" for number in numbers],
                "source": ["web"] * len(numbers),
                "url": [f"https://host{number % 9973}.example.org/{number}" for number in numbers],
                "text": [f"{' '.join(pick)} number{number}" for pick, number in zip(picks, numbers, strict=True)],
            }
            filled = [pa.array(columns.get(f.name, [None] * len(numbers)), f.type) for f in SCHEMA]
            writer.write(pa.RecordBatch.from_arrays(filled, schema=SCHEMA))
    for stage in STAGES:
        place = folder / ("raw/web" if stage == "fetch" else stage) / "ledger"
        with LedgerWriter(place, stage) as ledger:
            for start in range(0, documents, BATCH):
                numbers = range(start, min(start + BATCH, documents))
                ledger.record(
                    [
                        {
                            "id": f"{number * 2654435761 % 2**32:08x}{number:024x}",
                            "source": "web",
                            "verdict": "kept",
                            "bytes": 250,
                            "shard": "00000.parquet",
                            "offset": number,
                        }
                        for number in numbers
                    ]
                )


def measure(folder: Path, documents: int) -> None:
    """Build the index and ask; prints one line a figure. Runs in a process of its own."""
    from llm_core.lineage import search
    from llm_core.lineage.index import open_index
    from llm_core.lineage.journey import journey

    wall, cpu = time.monotonic(), time.process_time()
    open_index(folder, folder / "scratch")
    print(f"  build          {time.monotonic() - wall:8.1f} s  {time.process_time() - cpu:8.1f} CPU s")
    size = sum(file.stat().st_size for file in (folder / "scratch").rglob("*") if file.is_file())
    print(f"  index size     {size / 1e6:8.0f} MB")
    picks = random.Random(1).sample(range(documents), 20)
    for name in ("id", "url", "text", "similar text"):
        seconds = []
        for number in picks:
            began = time.monotonic()
            index = open_index(folder, folder / "scratch")  # as a fresh command would
            if name == "id":
                hits = [f"{number * 2654435761 % 2**32:08x}{number:024x}"]
            elif name == "url":
                hits = [hit.id for hit in search.by_url(index, f"https://host{number % 9973}.example.org/{number}")]
            elif name == "text":
                hits = [hit.id for hit in search.by_text(index, f"number{number}")]
            else:
                hits = [hit.id for hit in search.by_text(index, f"word7 number{number} word3 word19 word77")]
            found = journey(index, hits[0], folder)
            seconds.append(time.monotonic() - began)
            assert len(found.decisions) == len(STAGES)
        print(f"  trace by {name:<13} median {sorted(seconds)[10]:.3f} s, slowest {max(seconds):.3f} s")
    print(f"  peak memory    {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:8.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure, options.rows // len(STAGES))
        return
    for rows in (options.rows // 10, options.rows):
        folder = Path(tempfile.mkdtemp())
        make(folder, rows // len(STAGES))
        print(f"{rows:,} ledger rows", flush=True)
        subprocess.run([sys.executable, __file__, "--rows", str(rows), "--measure", str(folder)], check=True)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
