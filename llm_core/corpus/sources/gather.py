"""Finished shards into one output: their files linked in order, their counts added, ids made unique.

Shards are made independently, so an id can come twice: a page listed in two files, a WARC record copied into two
archives, data files that each count their rows from 0. The first in the order of shards keeps the id. The shard of the
second is written anew: where the text is the same, without it (`repeated_id` in the ledger); where the text differs,
with an id made of its file and row (`id_told_apart`). Ids are compared by 64-bit hashes first: 8 bytes a document,
not the ids, are held.
"""

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from llm_core.corpus.sources.base import KEPT_WHOLE
from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter, document_id
from llm_core.formats.ledger import LedgerWriter, read_ledger, summarize
from llm_core.runtime.storage import output_folder, read_json, write_json

TOLD_APART = "id_told_apart"
HINTS = {
    "empty_file": "put texts into the files, or take {source} out of params.yaml",
    "quarantine_no_text": "name the column of the texts by {source}.columns {{text: YOURS}}",
    "quarantine_no_text_layer": "scans are not read: recognise their text (OCR) first",
    "quarantine_encrypted": "give files without a password",
    "quarantine_document_time": "allow more by {source}.document_seconds",
    "quarantine_document_memory": "allow more by {source}.document_memory_mb",
}
"""what a person can do about the commonest reasons for which a source has no document"""
Changes = dict[str, str | None]  # id -> the id that the document gets instead; None: it is dropped
Counts = Counter[tuple[str, str, str]]  # (source, verdict, reason) -> documents, or bytes


def gather(source: str, folders: list[Path], out: Path, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write `out` from the shards' finished folders; return the metrics, `extra` among them.

    Raises UserError where nothing was kept.
    """
    counts: Counts = Counter()
    sizes: Counts = Counter()
    skipped: Counter[str] = Counter()
    repeated = repeated_ids(source, folders)
    with output_folder(out, stored=True) as folder:
        for kind in ("documents", "ledger"):
            (folder / kind).mkdir()
        for number, shard in enumerate(folders):
            metrics = read_json(shard / "metrics.json")
            skipped.update(metrics["skipped"])
            for *key, count, size in metrics["counts"]:
                counts[key[0], key[1], key[2]] += count
                sizes[key[0], key[1], key[2]] += size
            if number in repeated:
                shard = _rewritten(shard, repeated[number], folder / ".again", counts, sizes)
            for kind in ("documents", "ledger"):
                for file in sorted((shard / kind).glob("*.parquet")):
                    _link(file, folder / kind / f"{number:05d}-{file.name}")
            shutil.rmtree(folder / ".again", ignore_errors=True)
        summary = summarize(+counts, sizes)
        if summary["documents_kept"] == 0:
            reasons = ", ".join(f"{reason}: {count}" for reason, count in summary["dropped_by_reason"].items())
            found = f"not one document in {len(folders)} shards ({reasons or 'they are empty'})"
            first = _first_detail(folder)
            worst = max(summary["dropped_by_reason"], key=lambda name: summary["dropped_by_reason"][name], default="")
            hint = HINTS.get(worst, "").format(source=f"sources.{source}")
            first = f"; the first: {first}" if first else ""
            raise UserError(f"source '{source}': {found}{first}{f'; {hint}' if hint else ''}")
        summary |= {"shards": len(folders), "records_skipped": dict(sorted(skipped.items())), **(extra or {})}
        told_apart = sum(count for key, count in counts.items() if key[2] == TOLD_APART)
        summary |= {"ids_told_apart": told_apart} if told_apart else {}
        whole = {key[2]: count for key, count in sorted(counts.items()) if key[2] in KEPT_WHOLE.values() and count}
        summary |= {"kept_whole": whole} if whole else {}
        write_json(folder / "metrics.json", summary)
    return summary


def repeated_ids(source: str, folders: list[Path]) -> dict[int, Changes]:
    """What happens to documents whose id an earlier shard has already, by the number of the later shard."""
    hashes = [pd.util.hash_array(_ids(folder), categorize=False) for folder in folders]
    values, times = np.unique(np.concatenate(hashes), return_counts=True) if hashes else (np.array([]), np.array([]))
    suspects = values[times > 1]
    if not len(suspects):
        return {}
    seen: dict[str, bytes] = {}  # id -> hash of the first text that has it
    repeated: dict[int, Changes] = {}
    for number, folder in enumerate(folders):
        suspected = np.isin(hashes[number], suspects)
        if not suspected.any():
            continue
        wanted = set(_ids(folder)[suspected])
        places = _places(folder, wanted)
        for identity, digest in _digests(folder, wanted):
            if identity not in seen:
                seen[identity] = digest
                continue
            same = seen[identity] == digest
            name = None if same else document_id(source, "{}@{}@{}".format(*places[identity], identity))
            repeated.setdefault(number, {})[identity] = name
    return repeated


def _ids(folder: Path) -> np.ndarray:
    """Ids of a finished shard's documents, as an array of objects."""
    files = sorted((folder / "documents").glob("*.parquet"))
    return np.concatenate([pq.read_table(file, columns=["id"])["id"].to_numpy(zero_copy_only=False) for file in files])


def _digests(folder: Path, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    """(id, hash of the text) of the documents `wanted`."""
    for file in sorted((folder / "documents").glob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches(1024, columns=["id", "text"]):
            for identity, text in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
                if identity in wanted:
                    yield identity, hashlib.blake2b(text.encode(), digest_size=8).digest()


def _places(folder: Path, wanted: set[str]) -> dict[str, tuple[str, int]]:
    """Where the documents `wanted` come from: id -> (shard, offset), by the ledger."""
    found = {}
    for batch in read_ledger(folder, ["id", "verdict", "shard", "offset"]):
        for row in batch.to_pylist():
            if row["id"] in wanted and row["verdict"] != "dropped":
                found[row["id"]] = (row["shard"], row["offset"])
    return found


def _rewritten(shard: Path, changes: Changes, place: Path, counts: Counts, sizes: Counts) -> Path:
    """A copy of a shard in `place` with `changes` made, in its documents and in its ledger."""
    with DocumentWriter(place / "documents") as documents:
        for file in sorted((shard / "documents").glob("*.parquet")):
            for batch in pq.ParquetFile(file).iter_batches(1024):
                ids = batch["id"].to_pylist()
                kept = [row for row, identity in enumerate(ids) if changes.get(identity, identity) is not None]
                names = pa.array([changes.get(ids[row], ids[row]) for row in kept], pa.string())
                documents.write(batch.take(pa.array(kept, pa.int64())).set_column(0, batch.schema.field("id"), names))
    with LedgerWriter(place / "ledger", "fetch") as ledger:
        for batch in read_ledger(shard):
            rows = batch.to_pylist()
            for row in rows:
                if row["verdict"] == "dropped":  # a copy in this shard goes on naming the one that was kept here
                    row["survivor_id"] = changes.get(row["survivor_id"]) or row["survivor_id"]
                    continue
                if row["id"] not in changes:
                    continue
                before = (row["source"], row["verdict"], row["reason"] or "")
                new = changes[row["id"]]
                if new is None:
                    row.update(verdict="dropped", reason="repeated_id", survivor_id=row["id"])
                else:
                    row.update(id=new, reason=TOLD_APART)
                after = (row["source"], row["verdict"], row["reason"])
                for counter, amount in ((counts, 1), (sizes, row["bytes"])):
                    counter[before] -= amount
                    counter[after] += amount
            ledger.write_rows(rows)
    return place


def _first_detail(folder: Path) -> str | None:
    """What the ledger says of the first dropped record that has a detail."""
    for batch in read_ledger(folder, ["detail"]):
        details = [row["detail"] for row in batch.to_pylist() if row["detail"]]
        if details:
            return str(details[0])
    return None


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(file, target)
