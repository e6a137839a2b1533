"""Decontamination: documents that hold a benchmark's items leave the training data.

What is compared are runs of `ngram` words (13 by default), the measure of GPT-3 and of most
since. An item counts as held when the share of its n-grams found in one document reaches
the threshold; a document that holds an item is dropped, and its ledger row names the
benchmark (reason `contaminated`) and the item (`detail`). N-grams that many items share
("which of the following statements is the best answer …") are boilerplate and ignored.
Items that some document touched, dropped or not, are listed with the share found, so that
the evaluation can report scores with and without them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm_core.corpus.decontamination.items import Items, Overlaps, overlaps, read_items
from llm_core.formats import ledger
from llm_core.formats.disk_columns import Column, StringColumn
from llm_core.formats.documents import (
    SHARD_BYTES,
    DocumentWriter,
    count_documents,
    require_documents,
)
from llm_core.formats.pieces import on_documents
from llm_core.formats.schema import SCHEMA
from llm_core.kernels.arrays import Floats, Ints
from llm_core.params.decontamination import Decontamination
from llm_core.params.launch import BatchLaunch
from llm_core.runtime import json_lines, progress
from llm_core.runtime.storage import output_folder, write_json

VERDICTS = pa.array(["kept", "dropped"])


class Touched:
    """Of each item the largest share found in a document, and the documents that share an n-gram with it."""

    def __init__(self, folder: Path, items: Items) -> None:
        self._items = items
        self.best = np.zeros(len(items.names))
        """float64 [items]; 0 where no document shares an n-gram"""
        self._item, self._ids = Column(folder, np.int64), StringColumn(folder)

    def add(self, found: Overlaps, ids: pa.Array) -> None:
        """Note the overlaps of a batch of documents of these ids (string [documents])."""
        np.maximum.at(self.best, found.item, found.share)
        self._item.append(found.item)
        self._ids.append(ids.take(pa.array(found.text)))

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each item that was touched, by benchmark and id."""
        order = np.argsort(self._item.values, kind="stable")
        bounds = np.searchsorted(self._item.values[order], np.arange(len(self.best) + 1))
        for item in sorted(np.flatnonzero(self.best).tolist(), key=lambda number: self._items.names[number]):
            benchmark, identifier = self._items.names[item]
            holders = self._ids.take(order[bounds[item] : bounds[item + 1]]).to_pylist()
            share = round(float(self.best[item]), 6)
            yield {"benchmark": benchmark, "id": identifier, "share": share, "documents": sorted(holders)}

    def counts(self, threshold: float) -> dict[str, dict[str, int]]:
        """For each benchmark its items, and how many of them were touched, and held."""
        counts: dict[str, dict[str, int]] = {}
        for (benchmark, _), best in zip(self._items.names, self.best.tolist(), strict=True):
            row = counts.setdefault(benchmark, {"items": 0, "touched": 0, "held": 0})
            row["items"] += 1
            row["touched"] += best > 0
            row["held"] += best >= threshold
        return counts


def decontaminate(
    inputs: list[str],
    benchmarks: list[str],
    out: Path,
    params: Decontamination,
    shard_bytes: int = SHARD_BYTES,
    launch: BatchLaunch = BatchLaunch(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Drop the documents at `inputs` that hold items of `benchmarks`; the metrics.

    `benchmarks` are files and folders of JSONL (each string field of an item counts as its
    text) or plain text (each line is an item). Raises UserError where there are none.
    """
    items = read_items(benchmarks, params)
    with output_folder(out, [*inputs, *benchmarks], stored=True) as folder:
        touched, count = Touched(folder, items), 0
        documents = on_documents(_look, inputs, ("text",), SCHEMA.names, (items,), launch, "decontamination")
        found: Overlaps
        with (
            progress.task("decontaminate", total=count_documents(inputs)) as work,
            DocumentWriter(folder / "documents", shard_bytes) as writer,
            ledger.LedgerWriter(folder / "ledger", "decontaminate") as judged,
        ):
            for file, offset, batch, found in documents:
                touched.add(found, batch.column("id"))
                item, share = _worst(found, batch.num_rows, params.threshold)
                judged.record_columns(
                    batch.num_rows,
                    id=batch.column("id"),
                    source=batch.column("source"),
                    bytes=pc.binary_length(batch.column("text")),
                    **_verdicts(item, share, items),
                    shard=pa.repeat(file, batch.num_rows),
                    offset=pa.array(np.arange(offset, offset + batch.num_rows)),
                )
                writer.write(batch.filter(pa.array(item < 0)))
                work.update(batch.num_rows)
                count += batch.num_rows
        require_documents(count, inputs)
        metrics = judged.finish(count)
        metrics["items"] = touched.counts(params.threshold)
        json_lines.write_rows(folder / "touched_items.jsonl", touched.rows(), sort_keys=True)
        write_json(folder / "metrics.json", metrics)
    return metrics


def _look(batch: pa.RecordBatch, items: Items) -> Overlaps:
    return overlaps(batch.column("text"), items)


def _worst(found: Overlaps, count: int, threshold: float) -> tuple[Ints, Floats]:
    """Of each document the item that it holds most of, if not less than the threshold, and the share of it.

    int64 [documents], -1 for none, and float64 [documents]. Of items with the same share it is the first.
    """
    item, share = np.full(count, -1, np.int64), np.zeros(count)
    held = np.flatnonzero(found.share >= threshold)
    held = held[np.lexsort((-found.item[held], found.share[held]))]  # the last one of a document stays
    item[found.text[held]] = found.item[held]
    share[found.text[held]] = found.share[held]
    return item, share


def _verdicts(item: Ints, share: Floats, items: Items) -> dict[str, pa.Array]:
    """Columns of the ledger for documents with these items and shares (see `_worst`)."""
    kept: npt.NDArray[np.bool_] = item < 0
    return {
        "verdict": VERDICTS.take(pa.array((~kept).astype(np.int8))),
        "reason": pa.array(["contaminated"]).take(pa.array(np.zeros(len(item), np.int8), mask=kept)),
        "score": pa.array(share, mask=kept),
        "detail": pa.array([None if one < 0 else "/".join(items.names[one]) for one in item.tolist()], pa.string()),
    }
