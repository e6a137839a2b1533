"""Many generated files of each kind through fetch, clean and dedup: no record is lost, no error escapes, memory is
small.

    python -m tests.fuzz.readers --files 10000

For each stage documents in = kept + dropped, and what one stage kept the next one was given; each file has a row in
the ledger, or was counted as not read. What breaks a stage is narrowed to single files, whose names hold their seeds
(`--kind jsonl --first 1200 --files 1` makes one again), and `--keep` writes them into `seeds/`, which every run reads
first. After a signal the last line on standard error names the seeds in question.
"""

import argparse
import faulthandler
import re
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

from llm_core.corpus.cleaning.stage import clean
from llm_core.corpus.deduplication.stage import dedup
from llm_core.corpus.sources.archived import ARCHIVES, BETWEEN
from llm_core.corpus.sources.stage import fetch
from llm_core.errors import UserError
from llm_core.formats.documents import ENDINGS, read_documents
from llm_core.network.archives import read_members
from llm_core.params.cleaning import Cleaning
from llm_core.params.deduplication import Deduplication
from llm_core.params.launch import CleaningLaunch
from llm_core.params.sources import FilesSource, Network
from tests.fuzz.files import KINDS, make

BATCH = 1000  # files a run of the three stages
MAX_BYTES = 1 << 30
SLOW, SLOWER = ("wiki", "pdf", "docx", "pptx", "odt", "epub"), 10  # kinds of which a tenth is made
PAGES = (".txt", ".html")  # one document a file
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
    files = list(folder.iterdir())
    traced |= {name.partition(BETWEEN)[0] for name in traced}  # members of archives
    lost = [file.name for file in files if file.suffix not in PAGES and str(file) not in traced]
    skipped = sum(metrics["records_skipped"].values())  # of WARC, archives, wikis: what is no document by its kind
    archives = sum(name.endswith((".warc", ".xml", *ARCHIVES)) for name in lost)
    assert len(lost) == archives <= skipped, f"no row in the ledger for {lost}; {skipped} records were skipped"
    pages = sum(file.suffix in PAGES for file in files)
    judged = sum(row["shard"].endswith(PAGES) and BETWEEN not in row["shard"] for row in ledger)
    assert judged == pages, f"{pages} pages, {judged} rows in the ledger"


def _plain_readers(folder: Path) -> None:
    """The readers that verbs use on files of a user: each reads, or refuses in one line."""
    for file in sorted(folder.iterdir()):
        try:
            if file.suffix == ".zip":
                for _ in read_members(file, ["*"]):
                    pass
            elif file.name.lower().endswith(ENDINGS):
                for batch in read_documents(str(file)):
                    batch.validate(full=True)
        except UserError as error:
            assert "\n" not in str(error)


def saved() -> dict[str, bytes]:
    """The files that once broke something."""
    return {path.name: path.read_bytes() for path in sorted(SEEDS.iterdir()) if path.name != "README.md"}


def narrowed(files: dict[str, bytes], work: Path) -> dict[str, bytes]:
    """The smallest part of `files`, by halves, that still breaks something."""
    while len(files) > 1:
        names = list(files)
        halves = names[: len(names) // 2], names[len(names) // 2 :]
        for half in halves:
            part = {name: files[name] for name in half}
            try:
                through_the_stages(part, work)
            except Exception:
                files = part
                break
        else:
            break  # only together
    return files


def _in_memory() -> str | None:
    """A folder in memory where there is one with room: thousands of small files cost the disk half of the time."""
    place = Path("/dev/shm")
    return str(place) if place.is_dir() and shutil.disk_usage(place).free > MAX_BYTES else None


class Memory:
    """The largest resident memory of this process and of its workers, each alone; a context manager."""

    def __init__(self) -> None:
        self.peak = 0
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._watcher.join()

    def _watch(self) -> None:
        this = psutil.Process()
        while not self._done.wait(0.1):
            for process in (this, *this.children(recursive=True)):
                self.peak = max(self.peak, peak_bytes(process.pid))


def peak_bytes(process: int) -> int:
    """VmHWM of a process, 0 where it has ended; getrusage begins with that of the process that started it."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) * 1024 if found else 0


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200, help="number of files of each kind")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--kind", choices=KINDS, action="append", help="these kinds alone; repeatable")
    parser.add_argument("--keep", action="store_true", help="write what breaks something into tests/fuzz/seeds")
    asked = parser.parse_args()
    faulthandler.enable()
    with tempfile.TemporaryDirectory(dir=_in_memory()) as place, Memory() as memory:
        work = Path(place)
        if kept := saved():
            through_the_stages(kept, work)
        for kind in asked.kind or KINDS:
            started = time.monotonic()
            totals: Counter[str] = Counter()
            number_of_files = max(asked.files // SLOWER, 1) if kind in SLOW else asked.files
            for seed in range(asked.first, asked.first + number_of_files, BATCH):
                last = min(seed + BATCH, asked.first + number_of_files)
                print(
                    f"{kind}: seeds {seed} to {last - 1}", file=sys.stderr
                )  # the last such line where a signal ends it
                files = {f"{kind}-{number:07d}{KINDS[kind][0]}": make(kind, number) for number in range(seed, last)}
                try:
                    totals.update(through_the_stages(files, work))
                except Exception:
                    traceback.print_exc()
                    broken = narrowed(files, work)
                    print(f"broken by {', '.join(broken)}", file=sys.stderr)
                    if asked.keep:
                        for name, data in broken.items():
                            (SEEDS / name).write_bytes(data)
                    return 1
            seconds = time.monotonic() - started
            print(
                f"{kind}: {number_of_files} files, {dict(totals)}, {seconds:.0f} s, peak {memory.peak >> 20} MB",
                flush=True,
            )
            if memory.peak > MAX_BYTES:
                print(f"{kind}: more than {MAX_BYTES >> 20} MB of memory", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
