"""The held-out split: whole documents, near-duplicates on one side, a share of every source.

Documents that are alike (below the threshold of deduplication, but too alike to test on)
and documents of one group (all sections about a country) are bound together; each bundle
falls wholly on one side. Bundles are taken in the order of a seeded hash of their least id,
until the source's held-out share is reached: adding documents moves few others, and the
choice depends on neither order nor sharding.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm_core.corpus.similarity.clusters import Near, ShingleStore, Signatures
from llm_core.corpus.similarity.forest import labels, new_forest, unite_equal
from llm_core.corpus.similarity.signing import sign
from llm_core.corpus.split.choice import BUNDLE_BYTES, choose
from llm_core.corpus.split.facts import Facts
from llm_core.errors import UserError
from llm_core.formats import ledger
from llm_core.formats.disk_columns import ROWS_AT_ONCE, numbers
from llm_core.formats.documents import (
    SHARD_BYTES,
    DocumentWriter,
    count_documents,
    read_numbered_batches,
    require_documents,
    unchanged,
)
from llm_core.formats.pieces import on_documents
from llm_core.kernels.arrays import Flags, Ints
from llm_core.params.launch import BatchLaunch
from llm_core.params.split import Split
from llm_core.runtime import progress
from llm_core.runtime.memory import batch_bytes, memory_share
from llm_core.runtime.storage import output_folder, write_json

NEAR = (5, 25, 4)  # words in a shingle, bands, rows: finds 0.8 of the pairs at Jaccard 0.5, nearly all above 0.6
SIDES = ("train", "heldout")


def split(
    inputs: list[str],
    out: Path,
    params: Split,
    seed: int,
    shard_bytes: int = SHARD_BYTES,
    known: Sequence[str] = (),
    launch: BatchLaunch = BatchLaunch(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Write `train/` and `heldout/` documents and a ledger with each document's side; the metrics.

    `known` are sources that `params.group_by` may name though no document of them is here (those of params.yaml).
    Raises UserError: no documents, nothing that can be held out,
    an id that appears twice, a source or field of `group_by` that no document has.
    """
    near = Near(*NEAR, params.similarity, seed)
    with output_folder(out, inputs, stored=True) as folder, unchanged(inputs):
        scratch = folder / ".signatures"
        scratch.mkdir()
        facts, store = Facts(scratch, params.group_by), ShingleStore(scratch, near, launch.memory_mb)
        _read(inputs, facts, store, launch)
        require_documents(len(facts), inputs)
        facts.require_groups(known)
        bundles = _bundles(facts, store, scratch)
        heldout = choose(facts, bundles, params, seed, scratch, memory_share(launch.memory_mb) // BUNDLE_BYTES)
        if not heldout.any():
            raise UserError(
                "split: nothing can be held out, because no source has two documents (or groups of split.group_by) "
                "that are not alike: give more documents, or raise split.similarity"
            )
        metrics = _write(inputs, folder, facts, heldout, launch.memory_mb, shard_bytes)
        progress.log(f"split: {metrics['train_documents']} documents train, {metrics['heldout_documents']} held out")
        write_json(folder / "metrics.json", metrics)
        shutil.rmtree(scratch)
    return metrics


def _read(inputs: list[str], facts: Facts, store: ShingleStore, launch: BatchLaunch) -> None:
    """First pass: facts and signature of every document."""
    keep = ("id", "source", "metadata") if facts.group_by else ("id", "source")
    found: tuple[Signatures, Ints]
    with progress.task("split: signatures", total=count_documents(inputs)) as work:
        for _, _, batch, found in on_documents(_look, inputs, ("text",), keep, (store.near,), launch, "split"):
            signatures, sizes = found
            store.append(signatures)
            facts.add(batch, sizes)
            work.update(batch.num_rows)


def _look(batch: pa.RecordBatch, near: Near) -> tuple[Signatures, Ints]:
    """Signatures of a batch of documents, and their bytes: int64 [documents]."""
    texts = batch.column("text")
    return sign(texts, near), pc.binary_length(texts).cast(pa.int64()).to_numpy()


def _bundles(facts: Facts, store: ShingleStore, folder: Path) -> Ints:
    """The bundle of each document, those alike and those of one group in the same one: int64 [documents]."""
    forest = new_forest(folder, len(facts))
    with progress.timed("split: candidate pairs"):
        store.finish().join(lambda some: pc.sort_indices(facts.ids.take(some)).to_numpy(), forest)
    unite_equal(forest, facts.group.values, numbers(folder, len(facts)).values, folder, store.memory_mb)
    return labels(forest)


def _write(
    inputs: list[str], folder: Path, facts: Facts, heldout: Flags, memory_mb: int, shard_bytes: int
) -> dict[str, Any]:
    """Second pass: write each document to its side, and a ledger row for it."""
    names, start = pa.array(SIDES), 0
    with (
        progress.task("split: write", total=len(facts)) as work,
        DocumentWriter(folder / "train/documents", shard_bytes) as train,
        DocumentWriter(folder / "heldout/documents", shard_bytes) as kept_out,
        ledger.LedgerWriter(folder / "ledger", "split") as judged,
    ):
        for file, offset, batch in read_numbered_batches(inputs, None, batch_bytes(memory_mb)):
            here = slice(start, start + batch.num_rows)
            out = heldout[here]
            judged.record_columns(
                batch.num_rows,
                id=batch.column("id"),
                source=batch.column("source"),
                verdict=pa.repeat("kept", batch.num_rows),
                bytes=pa.array(facts.size.values[here]),
                detail=names.take(pa.array(out.astype(np.int8))),
                shard=pa.repeat(file, batch.num_rows),
                offset=pa.array(np.arange(offset, offset + batch.num_rows)),
            )
            train.write(batch.filter(pa.array(~out)))
            kept_out.write(batch.filter(pa.array(out)))
            start += batch.num_rows
            work.update(batch.num_rows)
    metrics = judged.finish(len(facts))
    counts, sizes = _by_side(facts, heldout)
    for source, table in metrics["by_source"].items():
        row = facts.sources.index(source)
        table |= {f"{side}_documents": int(counts[row, column]) for column, side in enumerate(SIDES)}
        table |= {f"{side}_bytes": int(sizes[row, column]) for column, side in enumerate(SIDES)}
    for column, side in enumerate(SIDES):
        metrics[f"{side}_documents"] = int(counts[:, column].sum())
        metrics[f"{side}_bytes"] = int(sizes[:, column].sum())
    return metrics


def _by_side(facts: Facts, heldout: Flags) -> tuple[Ints, Ints]:
    """Documents and bytes of each source on each side: int64 [sources, 2] both."""
    counts, sizes = np.zeros((2, len(facts.sources), 2), np.int64)
    for start in range(0, len(facts), ROWS_AT_ONCE):
        here = slice(start, start + ROWS_AT_ONCE)
        places = facts.source.values[here], heldout[here].astype(np.int8)
        np.add.at(counts, places, 1)
        np.add.at(sizes, places, facts.size.values[here])
    return counts, sizes
