"""The proof of a takedown: every artefact that the project knows is searched for the documents that tombstones name.

There are two kinds of places. What `dvc repro` builds from deduplicated documents must contain none of them: `left`
counts those that it still contains, and the check fails while there are any. Places that a takedown cannot clean
(downloads and their cleaned form, caches, models, earlier versions in DVC and MLflow) are searched too; `remains` lists
them with what to do.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from llm_core.corpus import takedowns
from llm_core.errors import UserError
from llm_core.formats.ledger import read_ledger
from llm_core.lineage.kept import dvc_cache, dvc_remotes
from llm_core.lineage.leftovers import OTHER_TOKENIZER, Leftovers, files_below, tokenizers_below
from llm_core.lineage.models import told, trained_models
from llm_core.lineage.traces import Traces
from llm_core.lineage.versions import affected
from llm_core.runtime import progress
from llm_core.runtime.manifests import MANIFEST, read_manifest
from llm_core.runtime.outputs import MARK
from llm_core.runtime.redaction import redact
from llm_core.runtime.storage import glob_files, local_file
from llm_core.tracking.store import artifacts_folder, has_store, own_store, tracking_uri

SOURCES = ("raw", "clean")  # below data/: read by deduplication, which is where tombstones act
KEPT = frozenset({"ledger"})  # folders of verdicts: they record that a document was dropped, and contain no text
MODELS = "models"


@dataclass
class Proof:
    """Results of the search."""

    left: dict[str, int] = field(default_factory=dict)
    """folder below data/ that a takedown must clean -> number of documents that have left text in it"""
    remains: list[tuple[str, int | str, str]] = field(default_factory=list)
    """(place, documents or how, what to do) for each place that a takedown cannot clean"""
    unmatched: list[str] = field(default_factory=list)
    """tombstones that name no document of this project, as `kind value`"""
    unread: list[str] = field(default_factory=list)
    """files that a takedown must clean and that cannot be read, with the reason: nothing is proven of them"""


def check(data: Path, file: Path = Path(takedowns.FILE), cache: Path | None = None, root: Path | None = None) -> Proof:
    """Search everything below `data`, and the caches of its project, for what the tombstones of `file` name.

    `cache` is the folder of downloads; `root` the project's folder, by default the one that holds `data`.
    Raises UserError where there is nothing to prove: no such file, no tombstones in it, no output of a document stage
    below `data`.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such file of tombstones, so there is nothing to prove")
    tombstones = takedowns.load(file)
    if not tombstones:
        raise UserError(f"{file}: holds no tombstones, so there is nothing to prove")
    if not glob_files(data, "*/documents/*.parquet") and not glob_files(data, "*/*/documents/*.parquet"):
        raise UserError(f"{data}: holds no documents of any stage; give the folder of the stages' outputs as --data")
    root = data.resolve().parent if root is None else root
    traces = Traces(tombstones)
    found = Proof()
    with progress.task("takedown: documents at hand", unit="files") as work:
        _learn(data, traces, work)
    leftovers = Leftovers(traces, tokenizers_below(data))
    with progress.task("takedown: search", unit="files") as work:
        for path in _files(data):
            below = path.relative_to(data).parts
            if below[0] not in (*SOURCES, MODELS):
                place = _place(below)
                found.left.setdefault(place, 0)
                try:
                    found.left[place] += len(leftovers(path))
                except UserError as error:
                    found.unread.append(str(error))
                work.update()
        for place, folder, advice in _uncleaned(data, cache, root):
            _search(place, folder, advice, leftovers, found, work)
    for path in leftovers.undecoded:
        found.remains.append((str(path), OTHER_TOKENIZER, "delete them, or `dvc repro`, where nothing needs them"))
    models = [*trained_models(data / MODELS, traces.ids), *affected(traces.ids)]
    for row in models:
        found.remains.append((row["model"], told(row), "models do not unlearn: train it again, or withdraw it"))
    for address in _storages(data):
        advice = f"of it the shards of the present outputs were searched; `llm-core gc {address}` removes earlier ones"
        found.remains.append(("object storage", address, advice))
    for name, address in dvc_remotes(root):
        advice = "not searched; `dvc gc --cloud` removes old versions there"
        found.remains.append((f"DVC remote {name}", redact(address), advice))
    if has_store() and artifacts_folder() is None:
        advice = "not searched: the tracking server's own; delete the runs and versions there, then `mlflow gc`"
        found.remains.append(("MLflow's artifacts", redact(tracking_uri()), advice))
    found.left = dict(sorted(found.left.items()))
    found.unmatched = [
        row for row in tombstones.unmatched(by_hand=True) if row.removeprefix("id ") not in traces.dropped
    ]
    return found


def _search(place: str, folder: Path, advice: str, leftovers: Leftovers, found: Proof, work: progress.Task) -> None:
    """Search a place that no takedown cleans; `remains` gets what was found, and how many files cannot be read."""
    held: set[str] = set()
    unread: list[str] = []
    for path in _files(folder):
        try:
            held |= leftovers(path)
        except UserError as error:
            unread.append(str(error))
        work.update()
    if held:
        found.remains.append((place, len(held), advice))
    if unread:
        found.remains.append((place, f"{len(unread)} files that cannot be read, such as {unread[0]}", advice))


def _learn(data: Path, traces: Traces, work: progress.Task) -> None:
    """Ids and texts of the documents that tombstones name, from what the stages before deduplication read."""
    for stage in SOURCES:
        for path in glob_files(data, f"{stage}/*/documents/*.parquet"):
            for batch in pq.ParquetFile(local_file(path)).iter_batches(1024, columns=["id", "url", "text"]):
                for identifier, text, named in _judged(batch, traces):
                    if named:
                        traces.learn(identifier, text.decode("utf-8", "replace"))
            work.update()
    for folder in sorted({path.parent for path in glob_files(data, "**/ledger/*.parquet")}):
        for batch in read_ledger(folder, ["id", "reason"]):
            rows = batch.to_pylist()
            traces.dropped.update(row["id"] for row in rows if row["reason"] == "takedown")
    traces.ids |= traces.dropped
    traces.forget_common(_surviving(data, traces))


def _judged(batch: pa.RecordBatch, traces: Traces) -> Iterator[tuple[str, bytes, bool]]:
    """(id, text, whether a tombstone names it) of each document of a batch."""
    names = traces.tombstones.match_names(batch)
    texts = batch.column("text").cast(pa.large_binary()).to_pylist()
    for identifier, text, how in zip(batch.column("id").to_pylist(), texts, names, strict=True):
        named = traces.in_document(text or b"")
        yield identifier, text or b"", bool(how) or named


def _surviving(data: Path, traces: Traces) -> Iterator[str]:
    """Texts of the documents that stay, a batch at a time. That a run of words may span two of them does no harm."""
    for path in glob_files(data, "dedup/documents/*.parquet"):
        for batch in pq.ParquetFile(local_file(path)).iter_batches(1024, columns=["id", "url", "text"]):
            stay = [text for name, text, named in _judged(batch, traces) if not named and name not in traces.ids]
            yield b"\n".join(stay).decode("utf-8", "replace")


def _storages(data: Path) -> list[str]:
    """Addresses of the object storages that manifests below `data` name."""
    shards = (shard for file in data.glob(f"**/{MANIFEST}") for shard in read_manifest(file.parent).values())
    return sorted({shard.address.rsplit("/", 2)[0] for shard in shards})


def _files(folder: Path) -> Iterator[Path]:
    for path in [folder] if folder.is_file() else files_below(folder, KEPT):
        if path.name == MANIFEST:
            yield from (path.with_name(name) for name in read_manifest(path.parent))
        elif path.name != MARK:
            yield path


def _place(below: tuple[str, ...]) -> str:
    """The output that a file below data/ belongs to: `dedup`, `split/train`, `tokens/train`, `finetuning/dpo`, …"""
    folders = [part for part in below[:-1] if part != "documents"][:2]
    return "/".join(folders) or below[-1]


def _uncleaned(data: Path, cache: Path | None, root: Path) -> Iterator[tuple[str, Path, str]]:
    """(name, folder, what to do) of the places that contain texts and that no takedown cleans."""
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
    yield (
        f"DVC's cache ({dvc_cache(root)})",
        dvc_cache(root),
        "`dvc gc --workspace`, once no version that is kept needs it",
    )
    yield ".dvc/tmp", root / ".dvc/tmp", "working folders of `dvc exp`; delete them"
    artifacts = artifacts_folder()
    if artifacts:
        yield "MLflow's artifacts", artifacts, "delete the runs and versions, then `mlflow gc`"
    if (store := own_store()) and store.is_file():
        yield (
            "MLflow's store",
            store,
            "traces of `agent`, `ask` and `serve` have what they read and wrote: delete the traces, then `mlflow gc`",
        )
