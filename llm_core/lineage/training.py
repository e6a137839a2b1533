"""From models to the documents they were trained on, and back, by the loader's own arithmetic.

A model folder of ours carries `training_data.json`: the token shards it was trained on and
their digest, the loader's `state_dict`, the steps done, and its parent model. Nothing is
logged per step; which documents a step saw is computed from that state, the same way the
training loop got them, so the map is exact for any world size and any number of resumes.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llm_core.errors import UserError
from llm_core.pretraining.batches import Batches
from llm_core.storage import read_json

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

    def batches(self) -> Batches:
        """The loader of that training; UserError when the shards have changed since."""
        try:
            return Batches.from_state(self.tokens, self.loader)
        except UserError as error:
            raise UserError(f"{self.model}: its token shards are not here as they were ({error})") from None


def training_data(model: Path) -> TrainingData | None:
    """The training record of a model folder; None for a model that carries none."""
    if not (model / RECORD).is_file():
        return None
    record = read_json(model / RECORD)
    parent = locate(model, record["parent"]) if record.get("parent") else None
    return TrainingData(model, locate(model, record["tokens"]), record["loader"], int(record["steps"]), parent)


def locate(model: Path, path: str) -> Path:
    """A path that a model's record names, in the project that the model lies in (another checkout, perhaps)."""
    if not Path(path).is_absolute():
        for folder in model.resolve().parents:
            if (folder / path).exists():
                return Path(path) if folder == Path.cwd() else folder / path
    return Path(path)


def ancestry(model: Path) -> list[TrainingData]:
    """The training records of a model and of the models it descends from, nearest first.

    Raises UserError when not even one of them was trained by this pipeline's pretraining.
    """
    found: list[TrainingData] = []
    following: Path | None = model
    while following is not None and following.resolve() not in [record.model.resolve() for record in found]:
        record = training_data(following)
        if record is None:
            parent = _parent(following)
            following = parent if parent != following else None
            continue
        found.append(record)
        following = record.parent
    if not found:
        raise UserError(f"{model}: carries no {RECORD}; only models trained by `llm-core pretrain` can be traced")
    return found


def documents(record: TrainingData, start: int = 0, stop: int | None = None) -> Iterator[pa.RecordBatch]:
    """Documents of the steps `start` to `stop - 1` as record batches of SCHEMA."""
    stop = record.steps if stop is None else min(stop, record.steps)
    if not 0 <= start < max(stop, 1):
        raise UserError(f"--steps {start}:{stop}: the training has the steps 0:{record.steps}")
    rows: list[tuple[Any, ...]] = []
    for step, ranges in record.batches().documents_of_steps(start, stop):
        rows += [(step, item.id, item.source, item.start, item.stop, item.sequence) for item in ranges]
        if len(rows) >= ROWS:
            yield _batch(rows)
            rows = []
    yield _batch(rows)


def write_documents(record: TrainingData, out: Path, start: int = 0, stop: int | None = None) -> int:
    """Write `documents` as one Parquet file; the number of rows."""
    count = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(out, SCHEMA, compression="zstd") as writer:
        for batch in documents(record, start, stop):
            writer.write_batch(batch)
            count += batch.num_rows
    return count


def summary(record: TrainingData, start: int = 0, stop: int | None = None) -> list[str]:
    """How many documents and tokens of each source the steps saw, as lines for a person."""
    seen: dict[str, set[str]] = {}
    tokens: Counter[str] = Counter()
    for batch in documents(record, start, stop):
        for source, identifier, begin, end in zip(
            *(batch.column(name).to_pylist() for name in ("source", "id", "start", "stop")), strict=True
        ):
            seen.setdefault(source, set()).add(identifier)
            tokens[source] += end - begin
    stop = record.steps if stop is None else min(stop, record.steps)
    total = max(sum(tokens.values()), 1)
    lines = [f"{record.model}, steps {start} to {stop - 1}: {sum(map(len, seen.values()))} documents"]
    return lines + [
        f"  {source:<16} {len(seen[source]):>8} documents {count:>12} tokens {count / total:>6.1%}"
        for source, count in tokens.most_common()
    ]


def _parent(model: Path) -> Path | None:
    """The model that a finetuned one started from, as `llm-core finetune` notes it in metrics.json."""
    file = model / "metrics.json"
    parent = read_json(file).get("parent") if file.is_file() else None
    return locate(model, parent["path"]) if parent else None


def _batch(rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = list(zip(*rows, strict=True)) or [()] * len(SCHEMA)
    return pa.RecordBatch.from_arrays(
        [pa.array(list(column), field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )
