"""The stage: pieces of the input through the steps, in parallel, into one output folder.

A worker takes a piece, streams its batches through the steps and writes what it kept and judged to a scratch folder;
this process appends the scratch folders in the pieces' order and adds up the counts. Neither holds more than a few
batches, and the bytes written do not depend on which worker did which piece when. The time of one document is bounded
(`time_bound.py`), which is why even a single worker is a process of its own.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from llm_core.corpus.cleaning.batch import Batch, Step
from llm_core.corpus.cleaning.kept_pieces import Done, KeptPieces
from llm_core.corpus.cleaning.reading import BATCH_ROWS, read_piece
from llm_core.corpus.cleaning.run_statistics import Statistics
from llm_core.corpus.cleaning.steps import build_steps
from llm_core.corpus.cleaning.time_bound import TimeBound
from llm_core.errors import UserError, require_known
from llm_core.formats.documents import DocumentWriter, document_files
from llm_core.formats.ledger import LedgerWriter
from llm_core.formats.parquet import open_parquet
from llm_core.formats.pieces import Piece, divide
from llm_core.params.cleaning import Cleaning
from llm_core.params.launch import CleaningLaunch
from llm_core.runtime import json_lines
from llm_core.runtime.engine import run
from llm_core.runtime.progress import log, report, task
from llm_core.runtime.storage import output_folder, write_json

Reader = Callable[[Piece], Iterator[Batch]]
SMALL_BYTES = 24 << 20  # below this size, starting processes costs more than it saves


@dataclass(frozen=True)
class Work:
    """Everything that a worker needs for one piece; small, and importable everywhere."""

    piece: Piece
    number: int
    params: Cleaning
    steps: tuple[str, ...]
    stage: str
    scratch: str
    read: Reader

    def __str__(self) -> str:
        return str(self.piece)


def clean(
    paths: Sequence[str | Path],
    out: Path,
    params: Cleaning,
    steps: Sequence[str] | None = None,
    stage: str = "clean",
    pieces: list[Piece] | None = None,
    read: Reader = read_piece,
    sources: Sequence[str] = (),
    launch: CleaningLaunch = CleaningLaunch(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Run the steps over the documents at `paths` and write `out`; return the metrics.

    `pieces` and `read` replace the reading of document files (the verb `extract` reads WARC); a `read` with values of
    its own is a `functools.partial`, so that kept pieces know them. `sources` are those of params.yaml, which
    `params.exempt` may name beside those of the documents. Raises UserError: no documents there, an unknown step or
    source, an id that appears twice, nothing kept, a file that is not what its name says.
    """
    names = tuple(params.steps if steps is None else steps)
    steps_of(params, names)  # a wrong name is an error before any work is done
    pieces = divide(document_files(paths)) if pieces is None else pieces
    workers = 1 if launch.workers == 0 and sum(piece.size for piece in pieces) < SMALL_BYTES else launch.workers
    with output_folder(out, paths, stored=True) as folder:
        scratch = folder / ".pieces"
        works = [Work(piece, number, params, names, stage, str(scratch), read) for number, piece in enumerate(pieces)]
        kept = KeptPieces(params, names, stage, launch.kept_mb, _named(read)) if launch.kept_mb else None
        where = ", ".join(map(str, paths))
        metrics = _gather(works, folder, params, launch.runner, workers, stage, sources, where, kept)
        shutil.rmtree(scratch, ignore_errors=True)
    report({stage: metrics})
    return metrics


def _named(read: Reader) -> list[str]:
    """The name of a function that reads a piece, and the values that it is given."""
    function, values = (read.func, [*map(repr, read.args)]) if isinstance(read, partial) else (read, [])
    return [f"{function.__module__}.{function.__qualname__}", *values]


def _gather(
    works: list[Work],
    folder: Path,
    params: Cleaning,
    runner: str,
    workers: int,
    stage: str,
    sources: Sequence[str],
    paths: str,
    kept: KeptPieces | None,
) -> dict[str, Any]:
    """Run the works and append their rows in order; write metrics.json and drops.jsonl."""
    statistics, documents_in = Statistics(params.drop_samples), 0
    keys = [kept.key(work.piece) if kept else None for work in works]
    there = [bool(kept and kept.has(key)) for key in keys]
    left = [work for work, finished in zip(works, there, strict=True) if not finished]
    if len(left) < len(works):
        log(f"{stage}: {len(works) - len(left)} of {len(works)} pieces were finished by an earlier run")
    with (
        DocumentWriter(folder / "documents") as documents,
        LedgerWriter(folder / "ledger", stage) as ledger,
        task(stage, total=sum(work.piece.size for work in works), unit="bytes") as progress,
    ):
        results = run(process, left, runner, workers, retry=_ran_out_of_time)
        for work, key, finished in zip(works, keys, there, strict=True):
            done = kept.take(key) if kept and key and finished else next(results)
            for writer, kind in ((documents, "documents"), (ledger, "ledger")):
                for file in sorted(Path(done.folder, kind).glob("*.parquet")):
                    with open_parquet(str(file)) as parquet:
                        for batch in parquet.iter_batches(BATCH_ROWS):
                            writer.write(batch)
            if kept and not finished:
                kept.keep(key, work.piece, done)
            elif not finished:
                shutil.rmtree(done.folder)
            documents_in += done.documents_in
            ledger.counts.update(done.counts)
            ledger.sizes.update(done.sizes)
            statistics.merge(done.statistics)
            progress.update(work.piece.size)
        next(results, None)  # so that the workers end
    if documents_in == 0:
        raise UserError(f"{paths}: no document in {len(works)} files")
    metrics = ledger.finish(documents_in)
    require_known(params.exempt, {*sources, *metrics["by_source"]}, "cleaning.exempt")
    require_known(params.repair.characters, {*sources, *metrics["by_source"]}, "cleaning.repair.characters")
    if documents.rows != metrics["documents_kept"]:
        raise RuntimeError(f"{folder}: {documents.rows} documents written, {metrics['documents_kept']} kept")
    metrics |= statistics.summary()
    json_lines.write_rows(folder / "drops.jsonl", statistics.sampled(), sort_keys=True)
    write_json(folder / "metrics.json", metrics)
    return metrics


def process(work: Work) -> Done:
    """Process one piece: read, run the steps, write documents and ledger to a scratch folder."""
    folder = Path(work.scratch) / f"{work.number:06d}"
    shutil.rmtree(folder, ignore_errors=True)  # what an attempt that ran out of time left
    statistics = Statistics(work.params.drop_samples)
    steps = steps_of(work.params, work.steps)
    clock = TimeBound(Path(work.scratch), work.number, work.params.max_seconds)
    read = 0
    with DocumentWriter(folder / "documents") as documents, LedgerWriter(folder / "ledger", work.stage) as ledger:
        for batch in clock.watch(work.read(work.piece)):
            read += len(batch)
            for row in batch.alive():
                if batch.sizes[row] > work.params.max_document_bytes:
                    batch.drop(row, "quarantine_size", batch.sizes[row])
            for step in steps:
                step(batch)
            statistics.add(batch)
            documents.write(batch.kept())
            ledger.record(batch.verdicts())
    return Done(str(folder), read, ledger.counts, ledger.sizes, statistics)


def _ran_out_of_time(work: Work) -> bool:
    return TimeBound.fired(Path(work.scratch), work.number)


_STEPS: dict[str, list[Step]] = {}


def steps_of(params: Cleaning, names: tuple[str, ...]) -> list[Step]:
    """This process's steps for these params, built once, because their memos fill while they work.

    A process has one piece at a time (the pool's and Ray's workers alike), so that steps need no locks.
    """
    key = params.model_dump_json() + "|" + "|".join(names)
    if key not in _STEPS:
        _STEPS.clear()
        _STEPS[key] = build_steps(params, list(names))
    return _STEPS[key]
