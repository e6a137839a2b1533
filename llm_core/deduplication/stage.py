"""The stage `dedup`: one pass to take signatures, one decision, one pass to write.

Count in = kept + dropped: removed on request (`takedown`), without a word (`empty`), same
words as another (`exact_duplicate`), same address (`url_duplicate`), alike (`near_duplicate`).
Exact duplicates are collapsed before near ones are looked for, so that a text repeated a
million times costs a hash a copy. Memory holds some 300 bytes a document and buffers of
`memory_mb`; texts and shingles go through scratch files beside the output.

Incremental: with the store of earlier runs (`known`), documents judged there keep their
verdicts, and a new one is dropped when its cluster holds any of them. That is what a run from
scratch over both decides about the new documents when it prefers the earlier ones.
"""

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm_core import ledger, progress, takedowns
from llm_core.checks.duplicates import dropped_shares, duplicate_bounds
from llm_core.deduplication.audit import audit
from llm_core.deduplication.corpus import Corpus, copy_store
from llm_core.deduplication.signing import Signed, sign_all
from llm_core.deduplication.survivors import Verdicts, elect
from llm_core.documents import SHARD_BYTES, DocumentWriter, count_documents, document_files, read_batches
from llm_core.errors import UserError
from llm_core.params.deduplication import Deduplication
from llm_core.similarity.clusters import Near, Shingles, ShingleStore, labels, new_forest, unite_equal
from llm_core.storage import output_folder, write_json

KEPT, TAKEDOWN, EMPTY, EXACT, URL, NEAR = range(6)
REASONS = pa.array([None, "takedown", "empty", "exact_duplicate", "url_duplicate", "near_duplicate"])
VERDICTS, KINDS = pa.array(["kept", "dropped"]), pa.array(takedowns.KINDS)
Codes = npt.NDArray[np.int8]


def dedup(
    inputs: list[str],
    out: Path,
    params: Deduplication,
    seed: int,
    priority: list[str],
    tombstones: Path = Path(takedowns.FILE),
    known: Path | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, Any]:
    """Drop duplicates among the documents at `inputs`; the metrics.

    `priority` ranks sources, the preferred first; those it does not name come last. `known` is
    the folder `signatures` of an earlier run. Raises UserError where an input is missing or broken,
    or where more was dropped than params allow.
    """
    near = Near(params.shingle, params.bands, params.rows, params.threshold, seed)
    with output_folder(out) as folder:
        store = folder / "signatures"
        store.mkdir()
        if known:
            copy_store(known, store, near)
        corpus = Corpus(ShingleStore(store, near, params.memory_mb))
        if known:
            corpus.load(known)
        _read(inputs, corpus, near, params, takedowns.load(tombstones))
        shingles = corpus.store.finish()
        verdicts = _elect(corpus, _cluster(corpus, shingles, params), [*params.priority, *priority])
        reasons = _reasons(corpus, verdicts)
        metrics = _write(inputs, folder, corpus, verdicts, reasons, params.memory_mb, shard_bytes)
        if params.near:
            dropped = np.flatnonzero(reasons == NEAR)
            pairs = np.stack([corpus.stored[dropped], corpus.stored[verdicts.survivor[dropped]]], axis=1)
            metrics["audit"] = audit(shingles, pairs, params.audit_sample, seed)
        metrics["dropped_share"] = dropped_shares(metrics)
        write_json(folder / "metrics.json", metrics)
        _hold_to_bounds(folder, out, metrics, params)
        if params.keep_signatures:
            corpus.save(store, near, np.concatenate([corpus.was_kept, reasons[corpus.known :] == KEPT]))
        else:
            shutil.rmtree(store)
    return metrics


def _hold_to_bounds(folder: Path, out: Path, metrics: dict[str, Any], params: Deduplication) -> None:
    """Raise UserError where more was dropped than params allow; ledger and metrics are then left beside `out`."""
    refused = out.parent / f"{out.name}.refused"
    shutil.rmtree(refused, ignore_errors=True)
    verdict = duplicate_bounds(metrics, params)
    if not verdict.passed:
        refused.mkdir()
        for name in ("ledger", "metrics.json"):
            (folder / name).rename(refused / name)
        raise UserError(f"{verdict.message} (the ledger is in {refused})")


def _read(
    inputs: list[str], corpus: Corpus, near: Near, params: Deduplication, tombstones: takedowns.Takedowns
) -> None:
    """First pass: facts of every document, signature of each distinct text."""
    batches = (
        (batch, batch.column("text"))
        for _, _, batch in _batches(inputs, ["id", "source", "url", "text"], params.memory_mb)
    )
    signed: Signed
    with progress.task("dedup: signatures", total=count_documents(inputs)) as work:
        for batch, signed in sign_all(batches, near, params.near, params.runner, params.workers):
            removed = np.zeros(batch.num_rows, np.int8)
            if tombstones:
                removed[:] = [takedowns.KINDS.index(kind) + 1 if kind else 0 for kind in tombstones.match(batch)]
            corpus.add(batch.column("id"), batch.column("source"), _url_digests(batch.column("url")), removed, signed)
            work.update(batch.num_rows)
    corpus.finish()


def _cluster(corpus: Corpus, shingles: Shingles, params: Deduplication) -> npt.NDArray[np.int64]:
    """Labels of the clusters, int64 [documents]; removed and empty documents stand alone."""
    forest = new_forest(len(corpus))
    present = np.flatnonzero(corpus.stored >= 0)
    places = corpus.stored[present]
    if params.near:
        digests = np.zeros((len(shingles), 2), np.uint64)
        digests[places] = corpus.digest[present]
        order = np.empty(len(shingles), np.int64)
        order[np.lexsort(digests.T)] = np.arange(len(shingles))  # known of the texts alone, whoever came first
        alike = new_forest(len(shingles))
        with progress.timed("dedup: candidate pairs"):
            shingles.join(order, alike)
        places = labels(alike)[places]
    unite_equal(forest, places.astype(np.uint64)[:, None], present)
    if params.url:
        addressed = present[corpus.url[present] != 0]
        unite_equal(forest, corpus.url[addressed][:, None], addressed)
    return labels(forest)


def _elect(corpus: Corpus, clusters: npt.NDArray[np.int64], priority: list[str]) -> Verdicts:
    """Survivors; a document that an earlier run kept stays, whatever its rank."""
    places = {source: place for place, source in reversed(list(enumerate(priority)))}
    of_source = np.array([places.get(source, len(priority)) for source in corpus.sources] or [0], np.int64)
    ranking = of_source[corpus.source]
    ranking[: corpus.known] = np.where(corpus.was_kept, -2, -1)
    return elect(clusters, ranking, corpus.length, corpus.ranks())


def _reasons(corpus: Corpus, verdicts: Verdicts) -> Codes:
    """Why each document is dropped: int8 [documents], see REASONS."""
    survivor = verdicts.survivor
    reasons = np.full(len(corpus), NEAR, np.int8)
    reasons[(corpus.url == corpus.url[survivor]) & (corpus.url != 0)] = URL
    reasons[(corpus.digest == corpus.digest[survivor]).all(axis=1)] = EXACT
    reasons[survivor == np.arange(len(corpus))] = KEPT
    reasons[~corpus.digest.any(axis=1)] = EMPTY
    reasons[corpus.removed > 0] = TAKEDOWN
    return reasons


def _write(
    inputs: list[str],
    folder: Path,
    corpus: Corpus,
    verdicts: Verdicts,
    reasons: Codes,
    memory_mb: int,
    shard_bytes: int,
) -> dict[str, Any]:
    """Second pass: write what is kept, and a ledger row for every document."""
    start = corpus.known
    with (
        progress.task("dedup: write", total=len(corpus) - corpus.known) as work,
        DocumentWriter(folder / "documents", shard_bytes) as writer,
        ledger.LedgerWriter(folder / "ledger", "dedup") as judged,
    ):
        for file, offset, batch in _batches(inputs, None, memory_mb):
            numbers = np.arange(start, start + batch.num_rows)
            judged.record_columns(
                batch.num_rows,
                id=batch.column("id"),
                source=batch.column("source"),
                **_facts(numbers, corpus, verdicts, reasons[numbers]),
                shard=pa.repeat(file, batch.num_rows),
                offset=pa.array(numbers - start + offset),
            )
            writer.write(batch.filter(pa.array(reasons[numbers] == KEPT)))
            start += batch.num_rows
            work.update(batch.num_rows)
    metrics = judged.summary()
    ledger.check_balance(len(corpus) - corpus.known, metrics)
    metrics["clusters"] = len(np.unique(verdicts.label[verdicts.size > 1]))
    return metrics


def _facts(numbers: npt.NDArray[np.int64], corpus: Corpus, verdicts: Verdicts, reasons: Codes) -> dict[str, pa.Array]:
    """Columns of the ledger for some documents."""
    alone = verdicts.size[numbers] == 1
    details = np.where(reasons == TAKEDOWN, corpus.removed[numbers] - 1, 0)
    return {
        "verdict": VERDICTS.take(pa.array((reasons != KEPT).astype(np.int8))),
        "reason": REASONS.take(pa.array(reasons)),
        "bytes": pa.array(corpus.length[numbers]),
        "cluster_id": corpus.ids.take(pa.array(verdicts.label[numbers], mask=alone)),
        "survivor_id": corpus.ids.take(pa.array(verdicts.survivor[numbers], mask=alone)),
        "detail": KINDS.take(pa.array(details, pa.int64(), mask=reasons != TAKEDOWN)),
    }


def _batches(inputs: list[str], columns: list[str] | None, memory_mb: int) -> Iterator[tuple[str, int, pa.RecordBatch]]:
    """(file, number of the batch's first row in it, batch) of every document, in a stable order.

    A batch is a 32nd of the memory: its words, shingles and texts, a few batches ahead, take some ten times as much.
    """
    for file in document_files(inputs):
        offset = 0
        for batch in read_batches(file, columns, memory_mb << 15):
            yield file, offset, batch
            offset += batch.num_rows


def _url_digests(urls: pa.Array) -> npt.NDArray[np.uint64]:
    """64-bit digests of addresses without their fragments, 0 for none: uint64 [batch]."""
    digests = np.zeros(len(urls), np.uint64)
    if urls.null_count < len(urls):
        for row, url in enumerate(urls.to_pylist()):
            address = (url or "").partition("#")[0]
            if address:
                digests[row] = int.from_bytes(hashlib.blake2b(address.encode(), digest_size=8).digest(), "little")
    return digests
