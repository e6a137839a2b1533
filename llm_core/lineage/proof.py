"""The proof of a takedown: every artefact that the project knows is searched for what a tombstone names.

Two kinds of places are told apart. What `dvc repro` builds from deduplicated documents must hold nothing: `left` counts
what it still holds, and the check fails while there is any. What a takedown cannot clean (downloads and their cleaned
form, caches, models, earlier versions in DVC and MLflow) is searched too, and named with what to do: `remains`.
"""

import configparser
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from llm_core.corpus import takedowns
from llm_core.errors import UserError
from llm_core.formats.ledger import read_ledger
from llm_core.lineage.leftovers import Traces, documents_in
from llm_core.lineage.models import told, trained_models
from llm_core.lineage.versions import affected
from llm_core.runtime import progress
from llm_core.runtime.outputs import MARK
from llm_core.tracking.store import artifacts_folder

SOURCES = ("raw", "clean")  # below data/: read by deduplication, which is where tombstones act
KEPT = ("ledger",)  # folders of verdicts: they say that a document was dropped, and hold no text
MODELS = "models"


@dataclass
class Proof:
    """What the search found."""

    left: dict[str, int] = field(default_factory=dict)
    """folder below data/ that a takedown must clean -> documents that it still holds something of"""
    remains: list[tuple[str, int | str, str]] = field(default_factory=list)
    """(place, documents or how, what to do) of what a takedown cannot clean"""
    unmatched: list[str] = field(default_factory=list)
    """tombstones that name no document that was ever seen here, as `kind value`"""


def check(data: Path, file: Path = Path(takedowns.FILE), cache: Path | None = None, root: Path = Path()) -> Proof:
    """Search everything below `data`, and the caches of the project at `root`, for what the tombstones of `file` name.

    `cache` is the folder of downloads. Raises UserError where there is nothing to prove: no such file, no tombstones in
    it, no output of a document stage below `data`.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such file of tombstones, so there is nothing to prove")
    tombstones = takedowns.load(file)
    if not tombstones:
        raise UserError(f"{file}: holds no tombstones, so there is nothing to prove")
    if not any(data.glob("*/documents/*.parquet")) and not any(data.glob("*/*/documents/*.parquet")):
        raise UserError(f"{data}: holds no documents of any stage; give the folder of the stages' outputs as --data")
    traces = Traces(tombstones)
    found = Proof()
    with progress.task("takedown: documents at hand", unit="files") as work:
        _learn(data, traces, work)
    with progress.task("takedown: search", unit="files") as work:
        for path in _files(data):
            below = path.relative_to(data).parts
            if below[0] not in (*SOURCES, MODELS):
                place = _place(below)
                found.left[place] = found.left.get(place, 0)
                found.left[place] += len(documents_in(path, traces))
                work.update()
        for place, folder, advice in _uncleaned(data, cache, root):
            held: set[str] = set()
            for path in _files(folder):
                held |= documents_in(path, traces)
                work.update()
            if held:
                found.remains.append((place, len(held), advice))
    models = [*trained_models(data / MODELS, traces.ids), *affected(traces.ids)]
    for row in models:
        found.remains.append((row["model"], told(row), "models do not unlearn: train it again, or withdraw it"))
    for name, address in _remotes(root):
        found.remains.append(
            (f"DVC remote {name}", address, "not searched; `dvc gc --cloud` removes old versions there")
        )
    found.left = dict(sorted(found.left.items()))
    found.unmatched = [
        row for row in tombstones.unmatched(by_hand=True) if row.removeprefix("id ") not in traces.dropped
    ]
    return found


def _learn(data: Path, traces: Traces, work: progress.Task) -> None:
    """Ids and texts of the documents that tombstones name, from what the stages before deduplication read."""
    for stage in SOURCES:
        for path in sorted(data.glob(f"{stage}/*/documents/*.parquet")):
            for batch in pq.ParquetFile(path).iter_batches(1024, columns=["id", "url", "text"]):
                for row, how in enumerate(traces.tombstones.match(batch)):
                    if how:
                        traces.learn(batch["id"][row].as_py(), batch["text"][row].as_py() or "")
            work.update()
    for folder in sorted({path.parent for path in data.glob("**/ledger/*.parquet")}):
        for batch in read_ledger(folder, ["id", "reason"]):
            rows = batch.to_pylist()
            traces.dropped.update(row["id"] for row in rows if row["reason"] == "takedown")
    traces.ids |= traces.dropped
    traces.forget_common(_surviving(data, traces))


def _surviving(data: Path, traces: Traces) -> Iterator[str]:
    for path in sorted(data.glob("dedup/documents/*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(1024, columns=["id", "url", "text"]):
            for row, how in enumerate(traces.tombstones.match(batch)):
                if not how and batch["id"][row].as_py() not in traces.ids:
                    yield batch["text"][row].as_py() or ""


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        for path in sorted(folder.rglob("*")):
            below = path.relative_to(folder)
            if path.is_file() and path.name != MARK and not set(below.parts[:-1]) & set(KEPT):
                yield path


def _place(below: tuple[str, ...]) -> str:
    """The output that a file below data/ belongs to: `dedup`, `split/train`, `tokens/train`, `finetuning/dpo`, …"""
    folders = [part for part in below[:-1] if part != "documents"][:2]
    return "/".join(folders) or below[-1]


def _uncleaned(data: Path, cache: Path | None, root: Path) -> Iterator[tuple[str, Path, str]]:
    """(name, folder, what to do) of the places that hold texts and that no takedown cleans."""
    for stage in SOURCES:
        for folder in sorted(path for path in data.glob(f"{stage}/*") if path.is_dir()):
            advice = "the source offers it: drop it there, then `dvc repro`" if stage == "raw" else "follows data/raw"
            yield f"{data.name}/{stage}/{folder.name}", folder, f"{advice}; deduplication keeps it out of all else"
    yield f"{data.name}/{MODELS}", data / MODELS, "samples and rows beside the weights; train again, or delete them"
    scratch = root / ".scratch"
    yield ".scratch/lineage", scratch / "lineage", "the index of `trace`; delete the folder, it is built anew"
    for folder in sorted(path for path in scratch.glob("*") if path.name != "lineage"):
        yield f".scratch/{folder.name}", folder, "an unfinished or finished run's scratch; delete the folder"
    if cache:
        yield f"downloads ({cache})", cache, "delete the files; the next fetch reads them from the source again"
    yield ".dvc/cache", root / ".dvc/cache", "`dvc gc --workspace`, once no version that is kept needs it"
    artifacts = artifacts_folder()
    if artifacts:
        yield "MLflow's artifacts", artifacts, "delete the runs and versions, then `mlflow gc`"


def _remotes(root: Path) -> Iterator[tuple[str, str]]:
    settings = configparser.ConfigParser(interpolation=None)
    settings.read([root / ".dvc/config", root / ".dvc/config.local"], encoding="utf-8")
    for section in settings.sections():
        kind, _, name = section.strip("'\"").partition(" ")
        if kind == "remote":
            yield name.strip("'\""), settings[section].get("url", "")
