"""What a stage costs on the nodes of a Ray cluster and what in the process that started it, for each document.

    python -m benchmarks.unit_costs --in data/clean/addresses data/clean/bible data/clean/factbook \\
        --benchmarks data/benchmarks --warc SAMPLE.warc.gz ... --work WORK

The stages run with `runner: ray`, so that they divide the work as on a cluster, but one function takes the place of
`on_ray` and runs each piece in this process, in order. CPU time inside it is a node's; all other CPU time is the
starting process's. What a piece returns is pickled, outside both times, to count the bytes that Ray would move. Not
measured: Ray itself, and disks. Each stage runs on a small corpus first, so that loading compiled code is not counted.
A thread looks at the size of all scratch files, unnamed ones too.

The figures of `benchmarks/plan_for_the_internet.py` come from here.
"""

import argparse
import hashlib
import pickle
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.deduplication_scaling import make
from benchmarks.warc_reading import repeat
from llm_core.cli.extract import read_piece
from llm_core.corpus.cleaning.reading import BATCH_ROWS
from llm_core.corpus.cleaning.stage import clean
from llm_core.corpus.decontamination.stage import decontaminate
from llm_core.corpus.deduplication.stage import dedup
from llm_core.corpus.split.stage import split
from llm_core.formats import pieces
from llm_core.formats.documents import document_files
from llm_core.formats.ledger import LedgerWriter
from llm_core.formats.parquet import open_parquet
from llm_core.params import load
from llm_core.params.cleaning import Cleaning
from llm_core.params.launch import BatchLaunch, CleaningLaunch, PieceLaunch
from llm_core.runtime import engine
from llm_core.tokenization import stage as tokenization
from llm_core.tokenization.training import stage as training

CHECK_SECONDS = 0.05
HEAD = "| stage | nodes | starting process | bytes through Ray | scratch bytes | pieces |\n|---|---|---|---|---|---|"


@dataclass
class Cost:
    """Of one stage: CPU seconds on nodes and of pickling, bytes through Ray, largest scratch files."""

    nodes: float = 0.0
    pickling: float = 0.0
    moved: int = 0
    pieces: int = 0
    disk: int = 0
    driver: float = 0.0
    watcher: int | None = None  # clock of the thread that watches the files


cost = Cost()


def working() -> float:
    """CPU seconds of this process without the watching thread."""
    return time.process_time() - (time.clock_gettime(cost.watcher) if cost.watcher is not None else 0.0)


def in_this_process(function: Callable[..., Any], items: Any, shared: Any, *_: Any, **__: Any) -> Iterator[Any]:
    """In place of `engine.on_ray`."""
    for item in items:
        began = working()
        result = function(item, *shared)
        done = working()
        cost.moved += len(pickle.dumps(result, 5))
        cost.nodes += done - began
        cost.pickling += working() - done
        cost.pieces += 1
        yield item, result


def open_bytes(folder: Path) -> int:
    """Bytes on disk below `folder` (that of this process's unnamed files too)."""
    size, seen = 0, set()
    places = [path for path in folder.rglob("*") if ".pieces" not in path.parts and "documents" not in path.parts]
    for path in [*places, *Path("/proc/self/fd").iterdir()]:
        with suppress(OSError):
            if path.parent.name == "fd" and "deleted" not in str(path.readlink()):
                continue
            stat = path.stat()
            if (stat.st_dev, stat.st_ino) not in seen:
                seen.add((stat.st_dev, stat.st_ino))
                size += stat.st_blocks * 512
    return size


def watch(folder: Path, stop: threading.Event) -> None:
    while not stop.wait(CHECK_SECONDS):
        cost.disk = max(cost.disk, open_bytes(folder))


def measure(run: Callable[[], Any], folder: Path) -> Cost:
    """What a stage costs."""
    global cost
    cost, stop = Cost(), threading.Event()
    thread = threading.Thread(target=watch, args=(folder, stop))
    thread.start()
    cost.watcher = time.pthread_getcpuclockid(thread.ident or 0)
    began = working()
    run()
    cost.driver = working() - began - cost.nodes - cost.pickling
    cost.watcher = None
    stop.set()
    thread.join()
    return cost


def show(name: str, found: Cost, units: float, less: Cost | None = None) -> None:
    """A row of a table: figures for one unit; CPU seconds for a million."""
    less = less or Cost()
    seconds = [(found.nodes - less.nodes) / units * 1e6, (found.driver - less.driver) / units * 1e6]
    moved, disk = (found.moved - less.moved) / units, (found.disk - less.disk) / units
    print(f"| {name} | {seconds[0]:.1f} | {seconds[1]:.1f} | {moved:.1f} | {disk:.0f} | {found.pieces} |", flush=True)


def web_recipe() -> Cleaning:
    """The recipe of presets/web.yaml; English alone, and no source exempt, because none of its sources is here."""
    return load("presets/web.yaml", []).cleaning.model_copy(update={"exempt": []})


def bytes_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def stages(inputs: list[str], benchmarks: str, work: Path, count: int, words: int) -> dict[str, Cost]:
    """All stages behind the cleaning on `count` made documents of `words` words."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    make(work / "in", inputs, count, words)
    params = load("params.yaml", [])
    ungrouped = params.split.model_copy(update={"group_by": {}})
    batches, plain = BatchLaunch(runner="ray", memory_mb=64), PieceLaunch(runner="ray")
    at = {name: str(work / name) for name in ("in", "dedup", "decontaminated", "split", "tokenizer", "tokens")}
    runs: dict[str, Callable[[], Any]] = {
        "dedup": lambda: dedup([at["in"]], work / "dedup", params.deduplication, 1, [], Path("none"), launch=batches),
        "decontaminate": lambda: decontaminate(
            [at["dedup"]], [benchmarks], work / "decontaminated", params.decontamination, launch=batches
        ),
        "split": lambda: split([at["decontaminated"]], work / "split", ungrouped, 1, launch=batches),
        "train-tokenizer": lambda: training.train_tokenizer(
            [at["split"] + "/train"], work / "tokenizer", params.tokenizer, 1, plain
        ),
        "tokenize": lambda: tokenization.tokenize([at["split"]], at["tokenizer"], work / "tokens", plain),
    }
    return {name: measure(run, work) for name, run in runs.items()}


def grown(inputs: list[str], benchmarks: str, work: Path, counts: list[int], words: int) -> None:
    """Print what each further document costs, from a smaller and a larger corpus: what is paid once is not in it."""
    few, many = counts
    small = stages(inputs, benchmarks, work, few, words)
    large = stages(inputs, benchmarks, work, many, words)
    print(f"\n{few:,} to {many:,} documents of {words} words; CPU seconds for a million documents\n\n{HEAD}")
    for name in large:
        show(name, large[name], many - few, small[name])
    for name in ("in", "dedup", "decontaminated", "split", "tokens"):
        print(f"{name}: {bytes_of(work / name) / many:.0f} bytes on disk a document")
    print(f"text: {sum(map(len, texts_of([str(work / 'in')]))) / many:.0f} bytes a document")


def cleaning(inputs: list[str], work: Path) -> None:
    """The other steps of the web recipe on the real documents of the first of `inputs`, and of all."""
    recipe = web_recipe()
    steps = [step for step in recipe.steps if step != "extract"]

    def measured(some: list[str]) -> Cost:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        return measure(partial(clean, some, work / "out", recipe, steps, launch=CleaningLaunch(runner="ray")), work)

    measured(inputs[:1])
    few, many = measured(inputs[:1]), measured(inputs)
    sizes = [sum(map(len, texts_of(some))) / 1e6 for some in (inputs[:1], inputs)]
    print(f"\nclean, {sizes[0]:.1f} to {sizes[1]:.1f} MB of text; CPU seconds for 1 TB of text\n\n{HEAD}")
    show("clean", many, sizes[1] - sizes[0], few)
    kept = texts_of([str(work / "out")])
    print(f"kept: {len(kept)} of {len(texts_of(inputs))} documents, {sum(map(len, kept)) / 1e6:.2f} MB")


def texts_of(inputs: list[str]) -> list[bytes]:
    tables = (pq.read_table(file, columns=["text"]) for file in document_files(inputs))
    return [text.encode() for table in tables for text in table["text"].to_pylist()]


def extraction(warc: list[Path], work: Path, megabytes: float) -> None:
    """The verb `extract` on real pages, repeated to a fifth of `megabytes` and to all."""
    read = partial(read_piece, "web")

    def measured(share: float) -> tuple[Cost, float]:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        place = work / "pages.warc.gz"
        repeat(warc, place, megabytes * share * 1e6)
        part, launch, out = (
            pieces.Piece(str(place), size=place.stat().st_size),
            CleaningLaunch(runner="ray"),
            work / "out",
        )
        run = partial(clean, [str(work)], out, web_recipe(), ["extract"], "extract", [part], read, launch=launch)
        return measure(run, work), part.size / 1e6

    measured(0.1)
    (few, small), (many, large) = measured(0.2), measured(1)
    print(f"\nextract, {small:.1f} to {large:.1f} MB of WARC; CPU seconds for 1 TB of WARC\n\n{HEAD}")
    show("extract", many, large - small, few)
    texts = texts_of([str(work / "out")])
    print(f"{len(texts)} documents with text, {sum(map(len, texts)) / len(texts):.0f} bytes each")


def appending(work: Path, rows: int = 300_000) -> None:
    """What the starting process does with ledger rows: those of `clean` on pages that it drops."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    with LedgerWriter(work / "piece", "clean") as ledger:
        ledger.record_columns(
            rows,
            id=pa.array([hashlib.sha256(b"%d" % row).hexdigest()[:32] for row in range(rows)]),
            source=pa.repeat("web", rows),
            verdict=pa.repeat("dropped", rows),
            reason=pa.array([("language", "gopher_word_count", "fineweb_short_lines")[row % 3] for row in range(rows)]),
            bytes=pa.array(range(rows), pa.int64()),
            shard=pa.repeat("data/extract/documents/00000.parquet", rows),
            offset=pa.array(range(rows), pa.int64()),
        )
    began = time.process_time()
    with LedgerWriter(work / "ledger", "clean") as ledger:
        for file in sorted((work / "piece").glob("*.parquet")):
            with open_parquet(str(file)) as parquet:
                for batch in parquet.iter_batches(BATCH_ROWS):
                    ledger.write(batch)
    ledger.require_unique()
    print(f"\nledger, starting process: {(time.process_time() - began) / rows * 1e6:.2f} CPU s for a million rows")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--in", dest="inputs", nargs="+", required=True, help="documents whose words are used")
    parser.add_argument("--benchmarks", required=True, help="benchmark items for decontaminate")
    parser.add_argument("--warc", nargs="+", type=Path, default=[])
    parser.add_argument("--megabytes", type=float, default=20, help="of WARC")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--documents", type=int, nargs=2, default=[10_000, 40_000])
    parser.add_argument("--words", type=int, nargs="*", default=[100, 500])
    chosen = parser.parse_args()
    engine.on_ray = pieces.on_ray = in_this_process
    pieces.connected = tokenization.connected = training.connected = lambda *_: nullcontext()
    if chosen.warc:
        extraction(chosen.warc, chosen.work / "warc", chosen.megabytes)
    cleaning(chosen.inputs, chosen.work / "clean")
    appending(chosen.work / "ledger")
    for words in chosen.words:
        stages(chosen.inputs, chosen.benchmarks, chosen.work / "first", 2000, 100)  # loads what is compiled
        grown(chosen.inputs, chosen.benchmarks, chosen.work / str(words), chosen.documents, words)


if __name__ == "__main__":
    main()
