"""The held-out split: whole documents, near-duplicates on one side, a share of every source.

Documents that are alike (below the threshold of deduplication, but too alike to test on)
and documents of one group (all sections about a country) are bound together; each bundle
falls wholly on one side. Bundles are taken in the order of a seeded hash of their least id,
until the source's held-out share is reached: adding documents moves few others, and the
choice depends on neither order nor sharding.
"""

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm_core.corpus.similarity.clusters import Near, ShingleStore, labels, new_forest, unite
from llm_core.corpus.similarity.word_hashes import WordHasher
from llm_core.errors import UserError, require_known
from llm_core.formats import ledger
from llm_core.formats.documents import (
    SHARD_BYTES,
    DocumentWriter,
    count_documents,
    read_documents,
    read_numbered_batches,
    require_documents,
)
from llm_core.formats.schema import read_metadata
from llm_core.params.split import Split
from llm_core.runtime import progress
from llm_core.runtime.digests import short_hash
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
) -> dict[str, Any]:
    """Write `train/` and `heldout/` documents and a ledger with each document's side; the metrics.

    `known` are sources that `params.group_by` may name though no document of them is here (those of params.yaml).
    Raises UserError: no documents, nothing that can be held out,
    an id that appears twice, a source or field of `group_by` that no document has.
    """
    ids: list[str] = []
    sources: list[str] = []
    sizes: list[int] = []
    groups: list[str | None] = []
    with tempfile.TemporaryDirectory(prefix="split-") as scratch, output_folder(out, inputs) as folder:
        store, hasher = ShingleStore(Path(scratch), Near(*NEAR, params.similarity, seed)), WordHasher(seed)
        with progress.task("split: signatures", total=count_documents(inputs)) as work:
            for batch in read_documents(inputs, ["id", "source", "text", "metadata"]):
                for document in batch.to_pylist():
                    ids.append(document["id"])
                    sources.append(document["source"])
                    sizes.append(len(document["text"].encode("utf-8", "surrogatepass")))
                    groups.append(_group(document, params.group_by))
                    store.add(hasher(document["text"]))
                work.update(batch.num_rows)
        require_documents(len(ids), inputs)
        _require_groups(params.group_by, sources, groups, known)
        rank = np.argsort(np.argsort(np.array(ids, dtype=object), kind="stable"), kind="stable")
        shingles = store.finish()
        forest = new_forest(len(ids))
        shingles.join(rank, forest)
        unite(forest, *_bound(groups).T)
        heldout = choose(ids, sources, sizes, labels(forest), params, seed)
        if not heldout:
            raise UserError(
                "split: nothing can be held out, because no source has two documents (or groups of split.group_by) "
                "that are not alike: give more documents, or raise split.similarity"
            )
        metrics = _write(inputs, folder, ids, heldout, shard_bytes)
        write_json(folder / "metrics.json", metrics)
    return metrics


def choose(
    ids: list[str],
    sources: list[str],
    sizes: list[int],
    bundles: npt.NDArray[np.int64],
    params: Split,
    seed: int,
) -> set[str]:
    """Ids of the held-out documents: whole bundles, until each source has its share of bytes.

    A bundle is taken only where it overshoots no source's share by more than half of it;
    every source of two bundles or more gets at least one.
    """
    total = Counter[str]()
    members: dict[int, list[int]] = {}
    for number, bundle in enumerate(bundles.tolist()):
        members.setdefault(bundle, []).append(number)
        total[sources[number]] += sizes[number]
    wanted = {
        source: min(size * params.heldout_share, params.heldout_megabytes * 1e6) for source, size in total.items()
    }
    order = sorted(members.values(), key=lambda bundle: short_hash(str(seed), min(ids[number] for number in bundle)))
    taken = Counter[str]()
    heldout: set[str] = set()
    for bundle in order:
        gain = Counter[str]()
        for number in bundle:
            gain[sources[number]] += sizes[number]
        needed = any(taken[source] < wanted[source] for source in gain)
        fits = all(
            taken[source] + size <= 1.5 * wanted[source] or (taken[source] == 0 and size <= total[source] / 2)
            for source, size in gain.items()
        )
        if needed and fits:
            taken.update(gain)
            heldout.update(ids[number] for number in bundle)
    return heldout


def _group(document: dict[str, Any], group_by: dict[str, str]) -> str | None:
    field = group_by.get(document["source"])
    value = read_metadata(document["metadata"]).get(field) if field else None
    return None if value is None else f"{document['source']}/{value}"


def _require_groups(
    group_by: dict[str, str], sources: list[str], groups: list[str | None], known: Sequence[str]
) -> None:
    """Raise UserError for a source or a metadata field in `split.group_by` that no document has."""
    require_known(group_by, {*sources, *known}, "split.group_by")
    grouped = {source for source, group in zip(sources, groups, strict=True) if group is not None}
    for source, field in group_by.items():
        if source in sources and source not in grouped:
            raise UserError(f"split.group_by: no document of {source} has the metadata field '{field}'")


def _bound(groups: list[str | None]) -> npt.NDArray[np.int64]:
    """Pairs (int64 [pairs, 2]) that join each document to the first of its group."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(group, number), number) for number, group in enumerate(groups) if group is not None]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def _write(inputs: list[str], folder: Path, ids: list[str], heldout: set[str], shard_bytes: int) -> dict[str, Any]:
    counts: Counter[tuple[str, str]] = Counter()
    sizes: Counter[tuple[str, str]] = Counter()
    with (
        DocumentWriter(folder / "train/documents", shard_bytes) as train,
        DocumentWriter(folder / "heldout/documents", shard_bytes) as kept_out,
        ledger.LedgerWriter(folder / "ledger", "split") as judged,
    ):
        for file, offset, batch in read_numbered_batches(inputs):
            rows: list[ledger.Row] = []
            for row, document in enumerate(batch.select(["id", "source", "text"]).to_pylist()):
                side = SIDES[document["id"] in heldout]
                size = len(document["text"].encode("utf-8", "surrogatepass"))
                counts[document["source"], side] += 1
                sizes[document["source"], side] += size
                place: ledger.Row = {"shard": file, "offset": offset + row, "bytes": size, "detail": side}
                rows.append({"id": document["id"], "source": document["source"], "verdict": "kept", **place})
            judged.record(rows)
            out = pa.array([row["detail"] == "heldout" for row in rows])
            train.write(batch.filter(pa.compute.invert(out)))
            kept_out.write(batch.filter(out))
    metrics = judged.finish(len(ids))
    for source, table in metrics["by_source"].items():
        table |= {f"{side}_documents": counts[source, side] for side in SIDES}
        table |= {f"{side}_bytes": sizes[source, side] for side in SIDES}
    for side in SIDES:
        metrics[f"{side}_documents"] = sum(counts[source, side] for source in metrics["by_source"])
        metrics[f"{side}_bytes"] = sum(sizes[source, side] for source in metrics["by_source"])
    return metrics
