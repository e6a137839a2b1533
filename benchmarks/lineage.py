"""Trace at scale: build the index of N ledger rows, then ask it by id, URL and text.

    python benchmarks/lineage.py --rows 10000000

Five stages judge each document, so 10 million rows are 2 million documents. Building and asking are separate processes;
each prints its seconds and the peaks of its memory, private (anonymous) and file-backed (mapped libraries and the
index's own pages, which the system may drop). Then whole commands are timed, `llm-core trace --url`, with the index's
pages in the page cache and without. All of it is repeated at a tenth of the size, to show the growth.
"""

import argparse
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from llm_core.formats.documents import SCHEMA, DocumentWriter
from llm_core.formats.ledger import LedgerWriter

STAGES = ("fetch", "clean", "dedup", "decontaminate", "split")
BATCH = 10_000


DATA = Path("data")  # in the folder in which every measurement runs, as in a project


def identifier(number: int) -> str:
    """The id of a document; ids are spread, and come in no order."""
    return f"{number * 2654435761 % 2**32:08x}{number:024x}"


def url(number: int) -> str:
    """The address of a document."""
    return f"https://host{number % 9973}.example.org/{number}"


def make(folder: Path, documents: int) -> None:
    """A finished pipeline of random sentences."""
    generator = np.random.default_rng(0)
    words = np.array([f"word{number}" for number in range(50_000)])
    with DocumentWriter(folder / "raw/web/documents") as writer:
        for start in range(0, documents, BATCH):
            numbers = range(start, min(start + BATCH, documents))
            picks = words[generator.zipf(1.3, size=(len(numbers), 40)) % len(words)]
            columns = {
                "id": [identifier(number) for number in numbers],
                "source": ["web"] * len(numbers),
                "url": [url(number) for number in numbers],
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
                            "id": identifier(number),
                            "source": "web",
                            "verdict": "kept",
                            "bytes": 250,
                            "shard": "00000.parquet",
                            "offset": number,
                        }
                        for number in numbers
                    ]
                )


@contextmanager
def peaks() -> Iterator[None]:
    """Print the peak memory of this process within the block, from samples every 10 ms."""
    found = dict.fromkeys(("RssAnon", "RssFile", "VmHWM"), 0)
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            for line in Path("/proc/self/status").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in found:
                    found[name] = max(found[name], int(value.split()[0]))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    private, mapped, both = (found[name] * 1024 / 1e6 for name in ("RssAnon", "RssFile", "VmHWM"))
    print(f"  peak memory    {private:.0f} MB private, {mapped:.0f} MB file-backed, {both:.0f} MB at once", flush=True)


def build() -> None:
    """Build the index."""
    from llm_core.lineage.index import open_index

    wall, cpu = time.monotonic(), time.process_time()
    with peaks():
        open_index(DATA)
    print(f"  build          {time.monotonic() - wall:8.1f} s  {time.process_time() - cpu:8.1f} CPU s")
    size = sum(file.stat().st_size for file in Path(".scratch").rglob("*") if file.is_file())
    print(f"  index size     {size / 1e6:8.0f} MB")


def ask(documents: int) -> None:
    """Ask 20 questions of each kind, each with the index opened anew."""
    from llm_core.lineage import search
    from llm_core.lineage.index import open_index
    from llm_core.lineage.journey import journey

    questions = {
        "id": lambda index, number: search.by_id(index, identifier(number)),
        "URL": lambda index, number: search.by_url(index, url(number)),
        "text": lambda index, number: search.by_text(index, f"number{number}"),
        "similar text": lambda index, number: search.by_text(index, f"word7 number{number} word3 word19 word77"),
    }
    with peaks():
        for name, question in questions.items():
            taken = []
            for number in random.Random(1).sample(range(documents), 20):
                wall, cpu = time.monotonic(), time.process_time()
                index = open_index(DATA)
                found = journey(index, question(index, number)[0].id, DATA)
                taken.append((time.monotonic() - wall, time.process_time() - cpu))
                assert len(found.decisions) == len(STAGES)
            told(f"by {name}", taken)


def commands(documents: int) -> None:
    """Time whole commands, started anew, with the index in the page cache and dropped from it."""
    numbers = random.Random(2).sample(range(documents), 10)
    for name, numbers_of in {"cached": numbers[:5], "dropped from cache": numbers[5:]}.items():
        taken = []
        for number in numbers_of:
            if name != "cached":
                drop_from_cache()
            wall, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
            command = [sys.executable, "-m", "llm_core.cli", "trace", "--url", url(number)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            taken.append((time.monotonic() - wall, cpu))
            assert identifier(number) in out
        told(f"command by URL, {name}", taken)


def drop_from_cache() -> None:
    """Drop the index's pages from the page cache, as after a day of other work."""
    for file in Path(".scratch").rglob("*"):
        if file.is_file():
            with open(file, "rb") as stream:
                os.fsync(stream.fileno())  # pages not yet written cannot be dropped
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def told(name: str, taken: list[tuple[float, float]]) -> None:
    """Print the median and the maximum of (wall, CPU) seconds."""
    walls, cpus = (sorted(column) for column in zip(*taken, strict=True))
    print(
        f"  {name:<34} median {walls[len(walls) // 2]:.3f} s, slowest {walls[-1]:.3f} s"
        f" (CPU {cpus[len(cpus) // 2]:.3f}, {cpus[-1]:.3f})",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--measure", choices=("build", "ask"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure == "build":
        build()
        return
    if options.measure == "ask":
        ask(options.rows // len(STAGES))
        return
    this = [sys.executable, str(Path(__file__).resolve())]
    for rows in (options.rows // 10, options.rows):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            Path("params.yaml").write_text("seed: 1\n")
            make(DATA, rows // len(STAGES))
            print(f"{rows:,} ledger rows", flush=True)
            for measure in ("build", "ask"):
                subprocess.run([*this, "--rows", str(rows), "--measure", measure], check=True)
            commands(rows // len(STAGES))
            os.chdir("/")


if __name__ == "__main__":
    main()
