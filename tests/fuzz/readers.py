"""Many generated files of each kind through fetch, clean and dedup: nothing lost, nothing thrown, little memory.

    python -m tests.fuzz.readers --files 10000

For each stage documents in = kept + dropped, and what one stage kept the next one was given; each file has a row in
the ledger, or was counted as not read. Any exception, traceback or signal ends the program with the seeds in question
(`--kind jsonl --first 1200 --files 1` makes one file again). Files that once broke something are kept in `seeds/`.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from llm_core.corpus.cleaning.stage import clean
from llm_core.corpus.deduplication.stage import dedup
from llm_core.corpus.sources.stage import fetch
from llm_core.errors import UserError
from llm_core.formats.documents import read_documents
from llm_core.network.archives import read_members
from llm_core.params.cleaning import Cleaning
from llm_core.params.deduplication import Deduplication
from llm_core.params.launch import CleaningLaunch
from llm_core.params.sources import FilesSource, Network
from tests.fuzz.files import KINDS, make

BATCH = 50  # files a run of the three stages
MAX_BYTES = 1 << 30
SEEDS = Path(__file__).with_name("seeds")
SOUND = '{"text": "a sound document, so that something is always kept"}\n'


def through_the_stages(files: dict[str, bytes], work: Path) -> dict[str, int]:
    """Write `files` (name -> bytes) into a folder and run the three stages; counts of what became of them."""
    shutil.rmtree(work, ignore_errors=True)
    folder = work / "files"
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "sound.jsonl").write_text(SOUND)
    network = Network(cache=str(work / "cache"))
    source = FilesSource(kind="files", paths=[str(folder)])
    fetched = fetch("fuzz", source, network, work / "raw", work / "scratch")
    steps = Cleaning(steps=["extract", "repair"], min_characters=1)
    cleaned = clean([str(work / "raw")], work / "clean", steps, launch=CleaningLaunch(workers=1))
    settings = Deduplication(max_dropped_share=1)
    unique = dedup([str(work / "clean")], work / "dedup", settings, 1, [], work / "none.jsonl")
    before = None
    for name, metrics in (("fetch", fetched), ("clean", cleaned), ("dedup", unique)):
        given, kept, dropped = (metrics[f"documents_{fate}"] for fate in ("in", "kept", "dropped"))
        assert given == kept + dropped, f"{name}: {given} in, {kept} kept, {dropped} dropped"
        assert before in (None, given), f"{name}: was given {given}, the stage before kept {before}"
        before = kept
    _every_file_left_a_trace(folder, work / "raw", fetched)
    _plain_readers(folder)
    return {"fetched": fetched["documents_kept"], "quarantined": fetched["documents_dropped"], "kept": before or 0}


def _every_file_left_a_trace(folder: Path, raw: Path, metrics: dict[str, Any]) -> None:
    ledger = pq.read_table(raw / "ledger", columns=["shard", "id", "verdict"]).to_pylist()
    documents = pq.read_table(raw / "documents", columns=["id"])["id"].to_pylist()
    assert len(set(documents)) == len(documents), "an id that names two documents"
    traced = {row["shard"] for row in ledger}
    pages = sum(path.suffix in (".txt", ".html") for path in folder.iterdir())
    tables = [path for path in folder.iterdir() if path.suffix not in (".txt", ".html", ".zip")]
    lost = [path.name for path in tables if str(path) not in traced and not metrics["records_skipped"]]
    assert not lost, f"no row in the ledger for {lost}"
    judged = sum(row["shard"].endswith((".txt", ".html")) for row in ledger)
    assert judged == pages, f"{pages} pages, {judged} rows in the ledger"
    zips = sum(path.suffix == ".zip" for path in folder.iterdir())
    assert metrics.get("files_not_read", {}).get("other_ending .zip", 0) == zips


def _plain_readers(folder: Path) -> None:
    """The readers that verbs use on files of a user: each reads, or refuses in one line."""
    for file in sorted(folder.iterdir()):
        try:
            if file.suffix == ".zip":
                for _ in read_members(file, ["*"]):
                    pass
            elif file.suffix not in (".txt", ".html", ".csv", ".tsv", ".warc"):
                for batch in read_documents(str(file)):
                    batch.validate(full=True)
        except UserError as error:
            assert "\n" not in str(error)


def saved() -> dict[str, bytes]:
    """The files that once broke something."""
    return {path.name: path.read_bytes() for path in sorted(SEEDS.iterdir()) if path.name != "README.md"}


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200, help="number of files of each kind")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--kind", choices=KINDS, action="append", help="these kinds alone; repeatable")
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.files)
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        if kept := saved():
            through_the_stages(kept, work)
        for kind in asked.kind or KINDS:
            totals: dict[str, int] = {}
            started = time.monotonic()
            for start in range(0, len(seeds), BATCH):
                batch = seeds[start : start + BATCH]
                files = {f"{seed:07d}{KINDS[kind][0]}": make(kind, seed) for seed in batch}
                try:
                    found = through_the_stages(files, work)
                except BaseException:
                    print(f"broken by a file of kind {kind}, seeds {batch[0]} to {batch[-1]}", file=sys.stderr)
                    raise
                totals = {name: totals.get(name, 0) + count for name, count in found.items()}
            peak = peak_bytes()
            print(f"{kind}: {len(seeds)} files, {totals}, {time.monotonic() - started:.0f} s, peak {peak >> 20} MB")
            if peak > MAX_BYTES:
                print(f"{kind}: more than {MAX_BYTES >> 20} MB of memory", file=sys.stderr)
                return 1
    return 0


def peak_bytes() -> int:
    """The largest resident memory of this process alone; getrusage begins with that of the process that started it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    sys.exit(main())
