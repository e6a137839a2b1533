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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm_core.corpus.similarity.word_hashes import WordHasher, ngrams
from llm_core.errors import UserError
from llm_core.formats import ledger
from llm_core.formats.documents import (
    SHARD_BYTES,
    DocumentWriter,
    count_documents,
    read_numbered_batches,
    require_documents,
)
from llm_core.kernels.arrays import Hashes
from llm_core.params.decontamination import Decontamination
from llm_core.runtime import json_lines, progress
from llm_core.runtime.compilation import njit
from llm_core.runtime.storage import list_files, output_folder, write_json

ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".txt")
SKIPPED_FIELDS = frozenset({"id", "label", "answer", "answerKey", "source", "split"})  # too short to tell anything


@dataclass
class Items:
    """Benchmark items as a sorted table of n-gram hashes."""

    names: list[tuple[str, str]]
    """(benchmark, item id) of each item"""
    sizes: npt.NDArray[np.int64]
    """n-grams of each item, boilerplate left out: int64 [items]"""
    grams: Hashes
    """sorted n-grams of all items, repeated for each item that holds them: uint64 [pairs]"""
    owner: npt.NDArray[np.int64]
    """the item of each of `grams`: int64 [pairs]"""
    lengths: list[int]
    """the n-gram lengths in use (shorter items have their own)"""
    sieve: npt.NDArray[np.uint8]
    """bits of the n-grams' low hash bits: nearly all of a text's n-grams fall through here"""

    def overlaps(self, words: Hashes) -> Iterator[tuple[int, float]]:
        """(item, share of its n-grams that a text of these word hashes holds), for every item touched."""
        parts = [_suspects(words, length, self.sieve) for length in self.lengths if length <= len(words)]
        runs = np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.uint64)
        if not len(runs):
            return
        low, high = np.searchsorted(self.grams, runs), np.searchsorted(self.grams, runs, side="right")
        found = [self.owner[a:b] for a, b in zip(low, high, strict=True) if b > a]
        if found:
            touched, hits = np.unique(np.concatenate(found), return_counts=True)
            for item, hit in zip(touched.tolist(), hits.tolist(), strict=True):
                yield item, hit / int(self.sizes[item])


def decontaminate(
    inputs: list[str], benchmarks: list[str], out: Path, params: Decontamination, shard_bytes: int = SHARD_BYTES
) -> dict[str, Any]:
    """Drop the documents at `inputs` that hold items of `benchmarks`; the metrics.

    `benchmarks` are files and folders of JSONL (each string field of an item counts as its
    text) or plain text (each line is an item). Raises UserError where there are none.
    """
    items = read_items(benchmarks, params)
    hasher = WordHasher()
    best: dict[int, float] = {}
    holders: dict[int, list[str]] = {}
    count = 0
    with output_folder(out, [*inputs, *benchmarks]) as folder:
        with (
            progress.task("decontaminate", total=count_documents(inputs)) as work,
            DocumentWriter(folder / "documents", shard_bytes) as writer,
            ledger.LedgerWriter(folder / "ledger", "decontaminate") as judged,
        ):
            for file, offset, batch in read_numbered_batches(inputs):
                rows = []
                for row, document in enumerate(batch.select(["id", "source", "text"]).to_pylist()):
                    worst = None
                    for item, share in items.overlaps(hasher(document["text"])):
                        best[item] = max(best.get(item, 0.0), share)
                        holders.setdefault(item, []).append(document["id"])
                        if share >= params.threshold and (worst is None or share > worst[1]):
                            worst = (item, share)
                    rows.append(_row(document, worst, items, file, offset + row))
                judged.record(rows)
                writer.write(batch.filter(pa.array([row["verdict"] == "kept" for row in rows])))
                work.update(batch.num_rows)
                count += batch.num_rows
        require_documents(count, inputs)
        metrics = judged.finish(count)
        metrics["items"] = _item_counts(items, best, params.threshold)
        touched = []
        for item in sorted(best, key=lambda number: items.names[number]):
            benchmark, identifier = items.names[item]
            found = {"benchmark": benchmark, "id": identifier, "share": round(best[item], 6)}
            touched.append(found | {"documents": sorted(holders[item])})
        json_lines.write_rows(folder / "touched_items.jsonl", touched, sort_keys=True)
        write_json(folder / "metrics.json", metrics)
    return metrics


def read_items(benchmarks: list[str], params: Decontamination) -> Items:
    """Read benchmark items into a table of n-grams.

    Raises UserError where a path is missing or no item is found.
    """
    hasher = WordHasher()
    names: list[tuple[str, str]] = []
    grams: list[Hashes] = []
    lengths: set[int] = set()
    for path in benchmarks:
        for file in list_files(path, ENDINGS):
            benchmark = Path(file).name.split(".")[0]
            for number, (identifier, text) in enumerate(_texts(file), start=1):
                words = hasher(text)
                if len(words) >= params.min_words:
                    names.append((benchmark, identifier or str(number)))
                    lengths.add(min(params.ngram, len(words)))
                    grams.append(np.unique(ngrams(words, params.ngram)))
    if not names:
        raise UserError(f"{', '.join(benchmarks)}: no benchmark items of {params.min_words} words or more")
    owner = np.repeat(np.arange(len(grams)), [len(gram) for gram in grams])
    flat = np.concatenate(grams)
    order = np.argsort(flat, kind="stable")
    flat, owner = flat[order], owner[order]
    _, inverse, counts = np.unique(flat, return_inverse=True, return_counts=True)
    telling = counts[inverse] <= params.common
    flat, owner = flat[telling], owner[telling]
    return Items(names, np.bincount(owner, minlength=len(names)), flat, owner, sorted(lengths), _sieve(flat))


def _sieve(grams: Hashes) -> npt.NDArray[np.uint8]:
    """A bit for each value of the n-grams' lowest bits: uint8 [2^k / 8], some 32 bits an n-gram."""
    bits = max(len(grams).bit_length() + 5, 16)
    sieve = np.zeros(1 << (bits - 3), np.uint8)
    places = grams & np.uint64((1 << bits) - 1)
    np.bitwise_or.at(
        sieve, (places >> np.uint64(3)).astype(np.int64), np.uint8(1) << (places & np.uint64(7)).astype(np.uint8)
    )
    return sieve


@njit()
def _suspects(words: Hashes, length: int, sieve: npt.NDArray[np.uint8]) -> Hashes:
    """Hashes of the runs of `length` words that the sieve does not rule out: uint64 [runs].

    `words`: uint64 [words]; `sieve`: uint8 [a power of two], see `Items`.
    """
    runs = ngrams(words, length)
    mask = np.uint64(len(sieve) * 8 - 1)
    count = 0
    for run in runs:
        place = run & mask
        if sieve[place >> np.uint64(3)] >> np.uint8(place & np.uint64(7)) & 1:
            runs[count] = run
            count += 1
    return runs[:count]


def _texts(file: str) -> Iterator[tuple[str, str]]:
    """(id, text) of each item of a file: the string fields of a JSON object, nested ones too, or a plain line."""
    if file.endswith(".txt"):
        for number, line in enumerate(json_lines.read_lines(file), start=1):
            yield str(number), line.decode("utf-8", "replace")
        return
    for number, row in json_lines.read_rows(file):
        yield str(row.get("id", number)), "\n".join(_strings(row))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in SKIPPED_FIELDS:
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _row(document: dict[str, Any], worst: tuple[int, float] | None, items: Items, file: str, offset: int) -> ledger.Row:
    return {
        "id": document["id"],
        "source": document["source"],
        "verdict": "dropped" if worst else "kept",
        "reason": "contaminated" if worst else None,
        "score": worst[1] if worst else None,
        "bytes": len(document["text"].encode("utf-8", "surrogatepass")),
        "detail": "/".join(items.names[worst[0]]) if worst else None,
        "shard": file,
        "offset": offset,
    }


def _item_counts(items: Items, best: dict[int, float], threshold: float) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = {}
    for number, (benchmark, _) in enumerate(items.names):
        row = counts.setdefault(benchmark, {"items": 0, "touched": 0, "held": 0})
        row["items"] += 1
        row["touched"] += number in best
        row["held"] += best.get(number, 0.0) >= threshold
    return counts
