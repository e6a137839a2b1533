"""The stage `dedup`: one pass to take signatures, one decision, one pass to write.

Count in = kept + dropped: removed on request (`takedown`), without a word (`empty`), same
words as another (`exact_duplicate`), same address (`url_duplicate`), alike (`near_duplicate`).
Exact duplicates are collapsed before near ones are looked for, so that a text repeated a
million times costs a hash a copy. Memory holds buffers of `memory_mb`; texts, shingles and the facts
of each document are in scratch files beside the output.

Incremental: with the store of earlier runs (`known`), documents judged there keep their
verdicts, and a new one is dropped when its cluster holds any of them. That is what a run from
scratch over both decides about the new documents when it prefers the earlier ones.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm_core.checks.duplicates import dropped_shares, duplicate_bounds
from llm_core.corpus import takedowns
from llm_core.corpus.deduplication.audit import audit, drawn
from llm_core.corpus.deduplication.corpus import Corpus, copy_store
from llm_core.corpus.deduplication.signing import Signed, sign
from llm_core.corpus.deduplication.survivors import Survivors, Verdicts
from llm_core.corpus.similarity.clusters import Near, Shingles, ShingleStore
from llm_core.corpus.similarity.forest import labels, new_forest, unite_equal
from llm_core.errors import UserError, require_known
from llm_core.formats import ledger
from llm_core.formats.disk_columns import Column
from llm_core.formats.documents import (
    SHARD_BYTES,
    DocumentWriter,
    count_documents,
    read_numbered_batches,
    require_documents,
    unchanged,
)
from llm_core.formats.pieces import on_documents
from llm_core.formats.urls import plain_url
from llm_core.params.deduplication import Deduplication
from llm_core.params.launch import BatchLaunch
from llm_core.runtime import progress
from llm_core.runtime.memory import batch_bytes
from llm_core.runtime.outputs import MARK, check_output
from llm_core.runtime.storage import output_folder, write_json

KEPT, TAKEDOWN, EMPTY, EXACT, URL, NEAR = range(6)
REASONS = pa.array([None, "takedown", "empty", "exact_duplicate", "url_duplicate", "near_duplicate"])
VERDICTS, KINDS = pa.array(["kept", "dropped"]), pa.array(takedowns.MATCHES)
SHOWN = 5  # tombstones without a match that are named in the log; all are in metrics.json
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
    launch: BatchLaunch = BatchLaunch(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Drop duplicates among the documents at `inputs`; the metrics.

    `priority` ranks sources, the preferred first; those it does not name come last. `known` is
    the folder `signatures` of an earlier run. Raises UserError where an input is missing or broken,
    or where more was dropped than params allow.
    """
    near = Near(params.shingle, params.bands, params.rows, params.threshold, seed)
    with output_folder(out, [*inputs, *([known] if known else [])], stored=True) as folder, unchanged(inputs):
        store = folder / "signatures"
        store.mkdir()
        if known:
            copy_store(known, store, near)
        corpus = Corpus(folder, ShingleStore(store, near, launch.memory_mb))
        if known:
            corpus.load(known)
        asked = takedowns.load(tombstones)
        _read(inputs, corpus, near, params, launch, asked)
        require_documents(len(corpus) - corpus.known, inputs)
        sources = {*priority, *corpus.sources}
        require_known(params.priority, sources, "deduplication.priority")
        require_known(params.max_dropped_share_by_source, sources, "deduplication.max_dropped_share_by_source")
        shingles = corpus.store.finish()
        clusters = _cluster(corpus, shingles, params, folder, launch.memory_mb)
        survivors = Survivors(corpus, clusters, [*params.priority, *priority], folder)
        reasons = Column(folder, np.int8)
        metrics = _write(inputs, folder, corpus, survivors, reasons, launch.memory_mb, shard_bytes)
        if params.near:
            dropped = corpus.known + drawn(reasons.values, NEAR, params.audit_sample, seed)
            pairs = np.stack([dropped, survivors.of(dropped).survivor], axis=1)
            metrics["audit"] = audit(shingles, corpus.stored.values[pairs])
        metrics |= _takedown_figures(asked, tombstones)
        metrics["dropped_share"] = dropped_shares(metrics)
        write_json(folder / "metrics.json", metrics)
        _hold_to_bounds(folder, out, metrics, params)
        if not known:  # a second crawl may bring nothing new
            ledger.require_kept("dedup", metrics)
        if params.keep_signatures:
            corpus.save(store, near)
        else:
            shutil.rmtree(store)
    return metrics


def _takedown_figures(asked: takedowns.Takedowns, file: Path) -> dict[str, Any]:
    """The number of tombstones and those that match no document, which are also logged."""
    if not asked:
        return {}
    unmatched = asked.unmatched()
    if unmatched:
        shown = "; ".join(unmatched[:SHOWN]) + ("; …" if len(unmatched) > SHOWN else "")
        progress.log(f"dedup: {len(unmatched)} of {len(asked.rows)} tombstones in {file} match no document: {shown}")
    figures = {"tombstones": len(asked.rows), "tombstones_matched": len(asked.matched), "unmatched": unmatched}
    return {"takedowns": figures}


def _hold_to_bounds(folder: Path, out: Path, metrics: dict[str, Any], params: Deduplication) -> None:
    """Raise UserError where more was dropped than params allow; ledger and metrics are then left beside `out`."""
    refused = out.parent / f"{out.name}.refused"
    verdict = duplicate_bounds(metrics, params)
    if not verdict.passed:
        with output_folder(refused) as beside:  # what no stage wrote there is left alone
            for name in ("ledger", "metrics.json"):
                (folder / name).rename(beside / name)
        raise UserError(f"{verdict.message} (the ledger is in {refused})")
    if (refused / MARK).is_file():
        shutil.rmtree(check_output(refused))


def _read(
    inputs: list[str],
    corpus: Corpus,
    near: Near,
    params: Deduplication,
    launch: BatchLaunch,
    tombstones: takedowns.Takedowns,
) -> None:
    """First pass: facts of every document, signature of each distinct text."""
    needs, keep, shared = ("id", "url", "text"), ("id", "source", "url"), (near, params.near, tombstones)
    found: tuple[Signed, Codes, list[int]]
    with progress.task("dedup: signatures", total=count_documents(inputs)) as work:
        for _, _, batch, found in on_documents(_look, inputs, needs, keep, shared, launch, "deduplication"):
            signed, removed, matched = found
            tombstones.matched.update(matched)
            corpus.add(batch.column("id"), batch.column("source"), _url_digests(batch.column("url")), removed, signed)
            work.update(batch.num_rows)


def _look(
    batch: pa.RecordBatch, near: Near, signatures: bool, tombstones: takedowns.Takedowns
) -> tuple[Signed, Codes, list[int]]:
    """Signatures of a batch; which tombstone names each document (int8 [documents], 0 for none); those that did."""
    removed = np.zeros(batch.num_rows, np.int8)
    if tombstones:
        removed[:] = [takedowns.MATCHES.index(kind) + 1 if kind else 0 for kind in tombstones.match(batch)]
    return sign(batch.column("text"), near, signatures), removed, sorted(tombstones.matched)


def _cluster(
    corpus: Corpus, shingles: Shingles, params: Deduplication, folder: Path, memory_mb: int
) -> npt.NDArray[np.int64]:
    """Cluster of each distinct text: int64 [texts]."""
    forest = new_forest(folder, len(corpus.texts))
    if params.near:
        with progress.timed("dedup: candidate pairs"):
            digests = corpus.texts.digests  # ranked by the texts alone, whoever came first
            shingles.join(lambda texts: np.lexsort(digests[texts].T[::-1]), forest)
    if params.url:
        unite_equal(forest, corpus.url.values, corpus.stored.values, folder, memory_mb)
    return labels(forest)


def _reasons(numbers: npt.NDArray[np.int64], corpus: Corpus, survivor: npt.NDArray[np.int64]) -> Codes:
    """Why each of some documents is dropped: int8 [numbers], see REASONS."""
    url, stored, removed = corpus.url.values, corpus.stored.values, corpus.removed.values
    reasons = np.full(len(numbers), NEAR, np.int8)
    reasons[(url[numbers] == url[survivor]) & (url[numbers] != 0)] = URL
    reasons[stored[numbers] == stored[survivor]] = EXACT
    reasons[survivor == numbers] = KEPT
    reasons[stored[numbers] < 0] = EMPTY
    reasons[removed[numbers] > 0] = TAKEDOWN
    return reasons


def _write(
    inputs: list[str],
    folder: Path,
    corpus: Corpus,
    survivors: Survivors,
    reasons: Column,
    memory_mb: int,
    shard_bytes: int,
) -> dict[str, Any]:
    """Second pass: write what is kept, and a ledger row for every document; `reasons` takes the code of each."""
    start = corpus.known
    with (
        progress.task("dedup: write", total=len(corpus) - corpus.known) as work,
        DocumentWriter(folder / "documents", shard_bytes) as writer,
        ledger.LedgerWriter(folder / "ledger", "dedup") as judged,
    ):
        for file, offset, batch in read_numbered_batches(inputs, None, batch_bytes(memory_mb)):
            numbers = np.arange(start, start + batch.num_rows)
            verdicts = survivors.of(numbers)
            codes = _reasons(numbers, corpus, verdicts.survivor)
            judged.record_columns(
                batch.num_rows,
                id=batch.column("id"),
                source=batch.column("source"),
                **_facts(numbers, corpus, verdicts, codes),
                shard=pa.repeat(file, batch.num_rows),
                offset=pa.array(numbers - start + offset),
            )
            writer.write(batch.filter(pa.array(codes == KEPT)))
            reasons.append(codes)
            corpus.kept.append(codes == KEPT)
            start += batch.num_rows
            work.update(batch.num_rows)
    metrics = judged.finish(len(corpus) - corpus.known, may_be_empty=True)  # the bounds on what is dropped come first
    metrics["clusters"] = survivors.clusters()
    return metrics


def _facts(numbers: npt.NDArray[np.int64], corpus: Corpus, verdicts: Verdicts, reasons: Codes) -> dict[str, pa.Array]:
    """Columns of the ledger for some documents."""
    alone = verdicts.size == 1
    details = np.where(reasons == TAKEDOWN, corpus.removed.values[numbers] - 1, 0)
    return {
        "verdict": VERDICTS.take(pa.array((reasons != KEPT).astype(np.int8))),
        "reason": REASONS.take(pa.array(reasons)),
        "bytes": pa.array(corpus.length.values[numbers]),
        "cluster_id": corpus.ids.take(verdicts.label, mask=alone),
        "survivor_id": corpus.ids.take(verdicts.survivor, mask=alone),
        "detail": KINDS.take(pa.array(details, pa.int64(), mask=reasons != TAKEDOWN)),
    }


def _url_digests(urls: pa.Array) -> npt.NDArray[np.uint64]:
    """64-bit digests of addresses in the one spelling (`formats.urls`), 0 for none: uint64 [batch]."""
    digests = np.zeros(len(urls), np.uint64)
    if urls.null_count < len(urls):
        for row, url in enumerate(urls.to_pylist()):
            if address := plain_url(url or ""):
                encoded = address.encode("utf-8", "surrogatepass")
                digests[row] = int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "little")
    return digests
