"""From models to the documents they were trained on, and back, by the loader's own arithmetic.

A model folder written by this project contains `training_data.json`: the token shards it was trained on and
their digest, the loader's `state_dict`, the steps done, and its parent model. Nothing is
logged per step; which documents a step saw is computed from that state, the same way the
training loop got them, so the map is exact for any world size and any number of resumes.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from llm_core.errors import UserError
from llm_core.lineage.kept import kept_folder, version_of
from llm_core.models.configs import SNAPSHOTS
from llm_core.runtime import json_lines
from llm_core.runtime.storage import read_json
from llm_core.training.finetuning.rows import DOCUMENTS, TRAINED

if TYPE_CHECKING:
    from llm_core.training.pretraining.batches import Batches
    from llm_core.training.pretraining.phases import PhasedBatches

RECORD = "training_data.json"
SCHEMA = pa.schema(
    [
        pa.field("step", pa.int64()),
        pa.field("id", pa.string()),
        pa.field("source", pa.string()),
        pa.field("start", pa.int64()),  # first token of the document that the step saw
        pa.field("stop", pa.int64()),  # one past the last
        pa.field("sequence", pa.int64()),  # place in the step's global batch
    ]
)
ROWS = 65_536


@dataclass(frozen=True)
class TrainingData:
    """What a model was trained on: token shards, loader state, steps, parent."""

    model: Path
    tokens: Path
    loader: dict[str, Any]
    steps: int
    parent: Path | None
    digest: str | None = None
    """digest of the token shards, as in dvc.lock at that time"""
    parent_digest: str | None = None
    """digest of the parent model that training started from; None where it was not recorded"""

    def batches(self) -> "Batches | PhasedBatches":
        """The loader of that training; UserError where the shards have changed since and are not in DVC's cache."""
        from llm_core.training.pretraining.phases import loader_from_state  # imports numba, which few questions need

        try:
            return loader_from_state(self.tokens, self.loader)
        except UserError as error:
            kept = kept_folder(self.digest) if self.digest else None
            if kept:
                return loader_from_state(kept, self.loader)
            raise UserError(f"{self.model}: its token shards are not here as they were ({error})") from None


def training_data(model: Path) -> TrainingData | None:
    """The training record of a model folder; None for a model without one."""
    if not (model / RECORD).is_file():
        return None
    record = read_json(model / RECORD)
    parent = locate(model, record["parent"]) if record.get("parent") else None
    return TrainingData(
        model,
        locate(model, record["tokens"]),
        record["loader"],
        int(record["steps"]),
        parent,
        record.get("tokens_digest"),
        record.get("parent_digest"),
    )


def locate(model: Path, path: str) -> Path:
    """A path that a model's record names, in the project of the model (which may be another checkout)."""
    if not Path(path).is_absolute():
        for folder in model.resolve().parents:
            if (folder / path).exists():
                return Path(path) if folder == Path.cwd() else folder / path
    return Path(path)


def chain(model: Path, others: Mapping[str, Path] | None = None, verify: bool = False) -> list[Path]:
    """A model's folder and those of the models it descends from, nearest first; a merged model has several parents.

    With `verify` a parent must still have the digest that the model's record names; else that version is taken from
    DVC's cache, or from `others` (digest -> folder). Raises UserError where it is nowhere.
    """
    return [folder for _, folder in generations(model, others, verify)]


def generations(model: Path, others: Mapping[str, Path] | None = None, verify: bool = False) -> list[tuple[int, Path]]:
    """As `chain`, each folder with its depth: 0 for the model itself, 1 for what it was made from, and so on."""
    found, seen = [(0, model)], {model.resolve()}
    for depth, descendant in found:  # grows while it is read
        for path, digest in _parents(descendant):
            place: Path | None = path
            if verify and digest:
                place = (others or {}).get(digest) or version_of(path, digest)
            if place is None:
                raise UserError(f"{descendant}: its parent {path} ({digest}) is neither here nor in DVC's cache")
            if place.resolve() not in seen:
                seen.add(place.resolve())
                found.append((depth + 1, place))
    return found


def trainings(model: Path) -> list[tuple[int, TrainingData]]:
    """The pretrainings of a model and of the models it descends from, nearest first, each with its generation.

    Each is listed once: snapshots of one run were trained on its first steps, so only its longest record counts. Runs
    in other folders are other trainings, also where they saw the same documents.
    """
    found: dict[tuple[Path, str], tuple[int, TrainingData]] = {}
    for generation, folder in generations(model):
        record = training_data(folder)
        if record is None:
            continue
        run = folder.parents[1] if folder.parent.name == SNAPSHOTS else folder
        saw = [record.digest or str(record.tokens), record.loader, record.parent_digest or str(record.parent)]
        key = run.resolve(), json.dumps(saw, sort_keys=True)
        nearest, longest = found.get(key, (generation, record))
        found[key] = nearest, max(longest, record, key=lambda one: one.steps)
    return list(found.values())


def ancestry(model: Path) -> list[TrainingData]:
    """The training records of a model and of the models it descends from, nearest first; see `trainings`.

    Raises UserError when none of them was trained by this pipeline's pretraining, and names one whose folder is gone.
    """
    found = [record for _, record in trainings(model)]
    if not found:
        for folder in chain(model):
            if not folder.is_dir():
                below = f", from which {model} was made" if folder != model else ""
                raise UserError(f"{folder}: no such model folder{below}")
        raise UserError(f"{model}: has no {RECORD}; only models trained by `llm-core pretrain` can be traced")
    return found


def metrics_of(model: Path) -> dict[str, Any]:
    """What a model's metrics.json says; {} without one."""
    file = model / "metrics.json"
    return dict(read_json(file)) if file.is_file() else {}


def finetuning_documents(model: Path) -> tuple[Path | None, dict[str, dict[str, list[int]]]]:
    """The folder of rows that a model was finetuned on, and for each document the rows made from it that training saw.

    Rows are ids, each with the steps (from 1) that saw it, [] if the model does not record them.

    (None, {}) for a model that was not finetuned; no documents where its rows came from elsewhere. All training rows
    count if the model does not record which ones training saw. Raises UserError if the rows have changed since and are
    not in DVC's cache.
    """
    data = metrics_of(model).get("data")
    if not isinstance(data, dict) or "digest" not in data:
        return None, {}
    place = version_of(locate(model, data["path"]), data["digest"])
    if place is None:
        raise UserError(f"{model}: its finetuning rows {data['path']} ({data['digest']}) are not here as they were")
    listing = place / DOCUMENTS
    made = read_json(listing)["train"] if listing.is_file() else {}
    if not isinstance(made, dict):  # a list: written by versions in which rows named their documents
        return Path(data["path"]), {name: {} for name in made}
    steps = _finetuning_steps(model)
    if steps is None:
        return Path(data["path"]), {name: {row: [] for row in rows} for name, rows in made.items()}
    seen = {name: {row: steps[row] for row in rows if row in steps} for name, rows in made.items()}
    return Path(data["path"]), {name: rows for name, rows in seen.items() if rows}


def _finetuning_steps(model: Path) -> dict[str, list[int]] | None:
    """For each finetuning row (id) that the model was trained on, the steps, from 1; None if it does not record
    them."""
    if not (model / TRAINED).is_file():
        return None
    steps: dict[str, list[int]] = {}
    for _, step in json_lines.read_rows(model / TRAINED):
        for row in step["rows"]:
            steps.setdefault(row, []).append(step["step"])
    return steps


def require_steps(records: Sequence[TrainingData], start: int, stop: int | None) -> None:
    """Raise UserError where none of the trainings has all of the steps `start` to `stop - 1`."""
    longest = max(records, key=lambda record: record.steps)
    if not 0 <= start < (longest.steps if stop is None else stop) <= max(longest.steps, 1):
        asked = f"{start}:{'' if stop is None else stop}"
        raise UserError(f"--steps {asked}: the training of {longest.model} has the steps 0:{longest.steps}")


def documents(record: TrainingData, start: int = 0, stop: int | None = None) -> Iterator[pa.RecordBatch]:
    """Documents of the steps `start` to `stop - 1`, as far as the training has them, as record batches of SCHEMA."""
    stop = record.steps if stop is None else min(stop, record.steps)
    rows: list[tuple[Any, ...]] = []
    for step, ranges in record.batches().documents_of_steps(start, stop) if start < stop else ():
        rows += [(step, item.id, item.source, item.start, item.stop, item.sequence) for item in ranges]
        if len(rows) >= ROWS:
            yield _batch(rows)
            rows = []
    yield _batch(rows)


def summary(record: TrainingData, start: int = 0, stop: int | None = None) -> list[str]:
    """Documents and tokens of each source that the steps saw, as lines of text."""
    seen: dict[str, set[str]] = {}
    tokens: Counter[str] = Counter()
    for batch in documents(record, start, stop):
        for source, identifier, begin, end in zip(
            *(batch.column(name).to_pylist() for name in ("source", "id", "start", "stop")), strict=True
        ):
            seen.setdefault(source, set()).add(identifier)
            tokens[source] += end - begin
    if start >= record.steps > 0:
        return [f"{record.model}: none of these steps, its training has 0 to {record.steps - 1}"]
    last = record.steps if stop is None else min(stop, record.steps)
    short = "" if stop in (None, last) else " (the last of this training)"
    total = max(sum(tokens.values()), 1)
    lines = [f"{record.model}, steps {start} to {last - 1}{short}: {sum(map(len, seen.values()))} documents"]
    return lines + [
        f"  {source:<16} {len(seen[source]):>8} documents {count:>12} tokens {count / total:>6.1%}"
        for source, count in tokens.most_common()
    ]


def _parents(model: Path) -> list[tuple[Path, str | None]]:
    """The models that a model was made from, each with its digest, as pretrain, finetune or merge recorded them."""
    record = training_data(model)
    if record:
        return [(record.parent, record.parent_digest)] if record.parent else []
    told = metrics_of(model)
    merged = told.get("merged", {})
    named = [told.get("parent"), merged.get("base"), *merged.get("models", [])]
    return [(locate(model, one["path"]), one.get("digest")) for one in named if one]


def _batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    return pa.RecordBatch.from_arrays(
        [pa.array(list(column), field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )
