"""Finished shards into one output: their files linked in order, their counts added, ids made unique.

Shards are made independently, so an id can come twice (a page listed in two files, a WARC record copied into two
archives). The first in the order of shards stays; the shard of the second is written anew without it, with
`repeated_id` in its ledger. Ids are compared by 64-bit hashes first: 8 bytes a document, not the ids, are held.
"""

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter
from llm_core.formats.ledger import LedgerWriter, summarize
from llm_core.runtime.storage import output_folder, read_json, write_json


def gather(source: str, folders: list[Path], out: Path) -> dict[str, Any]:
    """Write `out` from the shards' finished folders; return the metrics. Raises UserError where nothing was kept."""
    counts: Counter[tuple[str, str, str]] = Counter()
    sizes: Counter[tuple[str, str, str]] = Counter()
    skipped: Counter[str] = Counter()
    repeated = repeated_ids(folders)
    with output_folder(out) as folder:
        for kind in ("documents", "ledger"):
            (folder / kind).mkdir()
        for number, shard in enumerate(folders):
            metrics = read_json(shard / "metrics.json")
            skipped.update(metrics["skipped"])
            for *key, count, size in metrics["counts"]:
                counts[key[0], key[1], key[2]] += count
                sizes[key[0], key[1], key[2]] += size
            if number in repeated:
                shard = _without(shard, repeated[number], folder / ".again", counts, sizes)
            for kind in ("documents", "ledger"):
                for file in sorted((shard / kind).glob("*.parquet")):
                    _link(file, folder / kind / f"{number:05d}-{file.name}")
            shutil.rmtree(folder / ".again", ignore_errors=True)
        summary = summarize(+counts, sizes)
        if summary["documents_kept"] == 0:
            reasons = ", ".join(f"{reason}: {count}" for reason, count in summary["dropped_by_reason"].items())
            found = f"not one document in {len(folders)} shards ({reasons or 'they are empty'})"
            raise UserError(f"source '{source}': {found}")
        summary |= {"shards": len(folders), "records_skipped": dict(sorted(skipped.items()))}
        write_json(folder / "metrics.json", summary)
    return summary


def repeated_ids(folders: list[Path]) -> dict[int, set[str]]:
    """Ids that an earlier shard has already, by the number of the later shard."""
    hashes = [pd.util.hash_array(_ids(folder), categorize=False) for folder in folders]
    values, times = np.unique(np.concatenate(hashes), return_counts=True) if hashes else (np.array([]), np.array([]))
    suspects = values[times > 1]
    if not len(suspects):
        return {}
    seen: set[str] = set()
    repeated: dict[int, set[str]] = {}
    for number, folder in enumerate(folders):
        for identity in _ids(folder)[np.isin(hashes[number], suspects)]:
            if identity in seen:
                repeated.setdefault(number, set()).add(identity)
            seen.add(identity)
    return repeated


def _ids(folder: Path) -> np.ndarray:
    """Ids of a finished shard's documents, as an array of objects."""
    files = sorted((folder / "documents").glob("*.parquet"))
    return np.concatenate([pq.read_table(file, columns=["id"])["id"].to_numpy(zero_copy_only=False) for file in files])


def _without(
    shard: Path,
    ids: set[str],
    place: Path,
    counts: Counter[tuple[str, str, str]],
    sizes: Counter[tuple[str, str, str]],
) -> Path:
    """A copy of a shard in `place` without the documents `ids`, and with their rows in the ledger changed."""
    wanted = pa.array(sorted(ids))
    with DocumentWriter(place / "documents") as documents:
        for file in sorted((shard / "documents").glob("*.parquet")):
            for batch in pq.ParquetFile(file).iter_batches(1024):
                documents.write(batch.filter(pc.invert(pc.is_in(batch["id"], wanted))))
    with LedgerWriter(place / "ledger", "fetch") as ledger:
        for file in sorted((shard / "ledger").glob("*.parquet")):
            for batch in pq.ParquetFile(file).iter_batches(1024):
                rows = batch.to_pylist()
                for row in rows:
                    if row["id"] in ids and row["verdict"] != "dropped":
                        before, after = (row["source"], row["verdict"], row["reason"] or ""), "repeated_id"
                        counts[before] -= 1
                        sizes[before] -= row["bytes"]
                        row.update(verdict="dropped", reason=after, survivor_id=row["id"])
                        counts[row["source"], "dropped", after] += 1
                        sizes[row["source"], "dropped", after] += row["bytes"]
                ledger.write_rows(rows)
    return place


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(file, target)
