"""The stage `dedup`: one pass to take signatures, one decision, one pass to write.

Count in = kept + dropped: removed on request (`takedown`), without a word (`empty`), same
words as another (`exact_duplicate`), same address (`url_duplicate`), alike (`near_duplicate`).
Exact duplicates are collapsed before near ones are looked for, so that a text repeated a
million times costs a hash a copy. What is held in memory is some 100 bytes a document.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm_core import ledger, progress, takedowns
from llm_core.deduplication.audit import audit
from llm_core.deduplication.survivors import Verdicts, elect
from llm_core.documents import DocumentWriter, count_documents, document_files, read_batches
from llm_core.params.deduplication import Deduplication
from llm_core.similarity.clusters import Near, Shingles, ShingleStore, components
from llm_core.similarity.words import WordHasher
from llm_core.storage import output_folder, write_json

Reasons = list[str | None]


class Corpus:
    """What is remembered of each document between the passes."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.sources: list[str] = []
        self.lengths: list[int] = []
        self.exact: list[bytes] = []  # digest of the words, b"" for none
        self.urls: list[bytes] = []
        self.removed: list[str | None] = []  # the kind of tombstone that names it


def dedup(
    inputs: list[str],
    out: Path,
    params: Deduplication,
    seed: int,
    priority: list[str],
    tombstones: Path = Path(takedowns.FILE),
) -> dict[str, Any]:
    """Drop duplicates among the documents at `inputs`; the metrics.

    `priority` ranks sources, the preferred first; those it does not name come last.
    Raises UserError where an input is missing or broken.
    """
    near = Near(params.shingle, params.bands, params.rows, params.threshold, seed)
    with tempfile.TemporaryDirectory(prefix="dedup-") as scratch, output_folder(out) as folder:
        corpus, shingles, representative = _read(inputs, Path(scratch), near, takedowns.load(tombstones))
        labels = _cluster(corpus, shingles, representative, params)
        ranks = np.argsort(np.argsort(np.array(corpus.ids, dtype=object), kind="stable"), kind="stable")
        places = {source: place for place, source in enumerate([*params.priority, *priority][::-1])}
        ranking = np.array([-places.get(source, -1) for source in corpus.sources], dtype=np.int64)
        verdicts = elect(labels, ranking, np.array(corpus.lengths, dtype=np.int64), ranks)
        reasons = _reasons(corpus, verdicts)
        metrics = _write(inputs, folder, corpus, verdicts, reasons)
        if params.near:
            metrics["audit"] = audit(
                shingles, _dropped_pairs(corpus, representative, verdicts, reasons), params.audit_sample, seed
            )
        metrics["max_dropped_share"] = max(
            (row["documents_dropped"] / row["documents_in"] for row in metrics["by_source"].values()), default=0.0
        )
        write_json(folder / "metrics.json", metrics)
    return metrics


def _dropped_pairs(
    corpus: Corpus, representative: npt.NDArray[np.int64], verdicts: Verdicts, reasons: Reasons
) -> npt.NDArray[np.int64]:
    """(dropped, survivor) of every near-duplicate, by their numbers in the shingle store: int64 [pairs, 2]."""
    stored = {corpus.exact[number]: place for place, number in enumerate(representative.tolist())}
    pairs = [
        (stored[corpus.exact[number]], stored[corpus.exact[int(verdicts.survivor[number])]])
        for number, reason in enumerate(reasons)
        if reason == "near_duplicate"
    ]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _read(
    inputs: list[str], scratch: Path, near: Near, tombstones: takedowns.Takedowns
) -> tuple[Corpus, Shingles, npt.NDArray[np.int64]]:
    """First pass: facts and digests of every document, shingles of each distinct text."""
    corpus, store, hasher = Corpus(), ShingleStore(scratch, near), WordHasher()
    seen: set[bytes] = set()
    representative: list[int] = []
    with progress.task("dedup: signatures", total=count_documents(inputs)) as work:
        for _, _, batch in _batches(inputs, ["id", "source", "url", "text"]):
            corpus.removed += tombstones.match(batch) if tombstones else [None] * batch.num_rows
            corpus.ids += batch.column("id").to_pylist()
            corpus.sources += batch.column("source").to_pylist()
            corpus.urls += [_digest((url or "").partition("#")[0].encode()) for url in batch.column("url").to_pylist()]
            for text in batch.column("text").to_pylist():
                number = len(corpus.lengths)
                corpus.lengths.append(len(text.encode("utf-8", "surrogatepass")))
                words = hasher(text)
                digest = _digest(words.tobytes())
                corpus.exact.append(digest)
                if digest and digest not in seen and corpus.removed[number] is None:
                    seen.add(digest)
                    representative.append(number)
                    store.add(words)
            work.update(batch.num_rows)
    return corpus, store.finish(), np.array(representative, dtype=np.int64)


def _cluster(
    corpus: Corpus, shingles: Shingles, representative: npt.NDArray[np.int64], params: Deduplication
) -> npt.NDArray[np.int64]:
    """Labels of the clusters; removed and empty documents stand alone."""
    count = len(corpus.ids)
    pairs = []
    for keys in (corpus.exact, corpus.urls if params.url else []):
        first: dict[bytes, int] = {}
        for number, key in enumerate(keys):
            if key and corpus.removed[number] is None and corpus.exact[number]:
                pairs.append((first.setdefault(key, number), number))
    joined = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    if params.near and len(representative):
        ids = np.array([corpus.ids[number] for number in representative.tolist()], dtype=object)
        order = np.argsort(np.argsort(ids, kind="stable"), kind="stable")
        with progress.timed("dedup: candidate pairs"):
            joined = np.concatenate([joined, representative[shingles.pairs(order)]])
    return components(joined, count)


def _reasons(corpus: Corpus, verdicts: Verdicts) -> Reasons:
    reasons: Reasons = []
    for number, survivor in enumerate(verdicts.survivor.tolist()):
        if corpus.removed[number]:
            reasons.append("takedown")
        elif not corpus.exact[number]:
            reasons.append("empty")
        elif survivor == number:
            reasons.append(None)
        elif corpus.exact[number] == corpus.exact[survivor]:
            reasons.append("exact_duplicate")
        elif corpus.urls[number] and corpus.urls[number] == corpus.urls[survivor]:
            reasons.append("url_duplicate")
        else:
            reasons.append("near_duplicate")
    return reasons


def _write(inputs: list[str], folder: Path, corpus: Corpus, verdicts: Verdicts, reasons: Reasons) -> dict[str, Any]:
    """Second pass: write what is kept, and a ledger row for every document."""
    number = 0
    with (
        progress.task("dedup: write", total=len(corpus.ids)) as work,
        DocumentWriter(folder / "documents") as writer,
        ledger.LedgerWriter(folder / "ledger", "dedup") as judged,
    ):
        for file, offset, batch in _batches(inputs, None):
            rows: list[ledger.Row] = []
            for row in range(batch.num_rows):
                rows.append(_row(number, corpus, verdicts, reasons[number], file, offset + row))
                number += 1
            judged.record(rows)
            kept = pa.array([row["verdict"] == "kept" for row in rows])
            writer.write(batch.filter(kept))
            work.update(batch.num_rows)
    metrics = judged.summary()
    ledger.check_balance(len(corpus.ids), metrics)
    metrics["clusters"] = len(np.unique(verdicts.label[verdicts.size > 1]))
    return metrics


def _row(number: int, corpus: Corpus, verdicts: Verdicts, reason: str | None, file: str, offset: int) -> ledger.Row:
    clustered = verdicts.size[number] > 1
    return {
        "id": corpus.ids[number],
        "source": corpus.sources[number],
        "verdict": "dropped" if reason else "kept",
        "reason": reason,
        "score": None,
        "bytes": corpus.lengths[number],
        "cluster_id": corpus.ids[verdicts.label[number]] if clustered else None,
        "survivor_id": corpus.ids[verdicts.survivor[number]] if clustered else None,
        "detail": corpus.removed[number],
        "shard": file,
        "offset": offset,
    }


def _batches(inputs: list[str], columns: list[str] | None) -> Iterator[tuple[str, int, pa.RecordBatch]]:
    """(file, number of the batch's first row in it, batch) of every document, in a stable order."""
    for file in document_files(inputs):
        offset = 0
        for batch in read_batches(file, columns):
            yield file, offset, batch
            offset += batch.num_rows


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest() if data else b""
