"""Benchmark items as a table of word n-grams, and the items that texts overlap with.

Nearly all n-grams of a text are in no item. A Bloom filter for each n-gram length in use, whose bits for an n-gram lie
in one 64-bit word (a blocked filter, Putze et al. 2007), rules out all but one in a hundred of them, and only those are
looked for in the sorted table of the items' n-grams.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from llm_core.corpus.similarity.minhash import sorted_set
from llm_core.corpus.similarity.word_hashes import WordHasher, ngrams
from llm_core.errors import UserError
from llm_core.kernels.arrays import Floats, Hashes, Ints
from llm_core.kernels.hashing import GOLDEN, mix
from llm_core.kernels.words import normal_form
from llm_core.params.decontamination import Decontamination
from llm_core.runtime import json_lines
from llm_core.runtime.compilation import njit
from llm_core.runtime.storage import list_files

ENDINGS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".txt")
SKIPPED_FIELDS = frozenset({"id", "label", "answer", "answerKey", "source", "split"})  # too short to tell anything
SIEVE_BITS = 16  # at least, for each n-gram
ITEMS_AT_ONCE = 1 << 14
BLOCK = 256  # n-grams of a text that are hashed together


@dataclass
class Items:
    """Benchmark items as a sorted table of n-gram hashes."""

    names: list[tuple[str, str]]
    """(benchmark, item id) of each item"""
    sizes: Ints
    """n-grams of each item, boilerplate left out: int64 [items]"""
    grams: Hashes
    """sorted n-grams of all items, repeated for each item that holds them: uint64 [pairs]"""
    owner: Ints
    """the item of each of `grams`: int64 [pairs]"""
    lengths: Ints
    """the n-gram lengths in use, ascending (shorter items have their own): int64 [lengths]"""
    sieves: Hashes
    """for each length the filter of its n-grams, one after the other: uint64 [words]"""
    bounds: Ints
    """where each filter begins and the last one ends: int64 [lengths + 1]"""


class Overlaps(NamedTuple):
    """Pairs of a text and an item that share an n-gram, in the order of the texts, then of the items."""

    text: Ints
    """int64 [pairs]"""
    item: Ints
    """int64 [pairs]"""
    share: Floats
    """share of the item's n-grams that the text has: float64 [pairs]"""


def overlaps(texts: pa.Array, items: Items) -> Overlaps:
    """Every item that shares an n-gram with one of the texts (large_string)."""
    words, counts = _hasher().of_strings(texts)
    found = _found(words, counts, items.lengths, items.sieves, items.bounds, items.grams)
    text, low = np.unique(found, axis=0).T
    sizes = np.searchsorted(items.grams, items.grams[low], side="right") - low
    before = np.repeat(np.cumsum(sizes) - sizes, sizes)
    owner = items.owner[np.repeat(low, sizes) + np.arange(len(before)) - before]
    pairs, hits = np.unique(np.stack([np.repeat(text, sizes), owner], axis=1), axis=0, return_counts=True)
    return Overlaps(pairs[:, 0], pairs[:, 1], hits / items.sizes[pairs[:, 1]])


def read_items(benchmarks: list[str], params: Decontamination) -> Items:
    """Read benchmark items into a table of n-grams.

    Raises UserError where a path is missing or no item is found.
    """
    names: list[tuple[str, str]] = []
    grams, sizes, lengths = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for path in benchmarks:
        for file in list_files(path, ENDINGS):
            benchmark = Path(file).name.split(".")[0]
            for identifiers, words, counts in _hashed(file):
                some, kept, size = _grams(words, counts, params.ngram, params.min_words)
                names += [(benchmark, identifiers[row]) for row in kept.tolist()]
                grams.append(some)
                sizes.append(size)
                lengths.append(np.minimum(counts[kept], params.ngram))
    if not names:
        raise UserError(f"{', '.join(benchmarks)}: no benchmark items of {params.min_words} words or more")
    flat, length = np.concatenate(grams), np.concatenate(lengths)
    owner = np.repeat(np.arange(len(names)), np.concatenate(sizes))
    order = np.argsort(flat, kind="stable")
    flat, owner = flat[order], owner[order]
    holders = np.diff(np.flatnonzero(np.diff(flat, prepend=~flat[:1], append=~flat[-1:])))
    telling = np.repeat(holders, holders) <= params.common
    flat, owner = flat[telling], owner[telling]
    used = np.unique(length)
    sieves = [_sieve(flat[length[owner] == one]) for one in used]
    bounds = np.cumsum([0, *map(len, sieves)])
    return Items(names, np.bincount(owner, minlength=len(names)), flat, owner, used, np.concatenate(sieves), bounds)


@cache
def _hasher() -> WordHasher:
    return WordHasher()


def _hashed(file: str) -> Iterator[tuple[list[str], Hashes, Ints]]:
    """(ids, word hashes of all, words of each) of the items of a file, some at a time."""
    identifiers: list[str] = []
    texts: list[bytes] = []
    for number, (identifier, text) in enumerate(_texts(file), start=1):
        identifiers.append(identifier or str(number))
        texts.append((text if text.isascii() else normal_form(text)).encode("utf-8", "surrogatepass"))
        if len(texts) == ITEMS_AT_ONCE:
            yield identifiers, *_words(texts)
            identifiers, texts = [], []
    if texts:
        yield identifiers, *_words(texts)


def _words(texts: list[bytes]) -> tuple[Hashes, Ints]:
    starts = np.cumsum([0, *map(len, texts)])
    return _hasher().of_texts(np.frombuffer(b"".join(texts), np.uint8), starts)


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


@njit(nogil=True)
def _grams(words: Hashes, counts: Ints, ngram: int, min_words: int) -> tuple[Hashes, Ints, Ints]:
    """n-grams of the items that have at least `min_words` words, each item's sorted and without repeats.

    `words`: uint64 [words of all], `counts`: int64 [items]. The n-grams of all: uint64; the rows of the items that
    were taken, and the n-grams of each: int64 [taken].
    """
    out = np.empty(len(words), np.uint64)
    rows, sizes = np.empty(len(counts), np.int64), np.empty(len(counts), np.int64)
    start, end, taken = 0, 0, 0
    for row in range(len(counts)):
        if counts[row] >= min_words:
            found = sorted_set(ngrams(words[start : start + counts[row]], ngram))
            out[end : end + len(found)] = found
            rows[taken], sizes[taken] = row, len(found)
            end += len(found)
            taken += 1
        start += counts[row]
    return out[:end].copy(), rows[:taken].copy(), sizes[:taken].copy()


@njit(nogil=True)
def _sieve(grams: Hashes) -> Hashes:
    """The filter of some n-grams: uint64 [a power of two]."""
    size = 1 << 6
    while size * 64 < SIEVE_BITS * len(grams):
        size *= 2
    sieve = np.zeros(size, np.uint64)
    for gram in grams:
        sieve[gram & np.uint64(size - 1)] |= _bits(gram)
    return sieve


@njit(nogil=True, inline="always")
def _bits(gram: np.uint64) -> np.uint64:
    """Three bits that the high bits of an n-gram's hash name."""
    one, low = np.uint64(1), np.uint64(63)
    return one << (gram >> np.uint64(58)) | one << (gram >> np.uint64(52) & low) | one << (gram >> np.uint64(46) & low)


@njit(nogil=True)
def _found(words: Hashes, counts: Ints, lengths: Ints, sieves: Hashes, bounds: Ints, grams: Hashes) -> Ints:
    """(text, first place in `grams`) of the texts' n-grams that are there, with repeats: int64 [found, 2].

    `words`: uint64 [words of all], `counts`: int64 [texts]; the rest as in `Items`. The hash of a longer n-gram goes on
    from that of the shorter one with the same beginning (see `ngrams`), so one pass serves all lengths. The hashes of a
    block of n-grams grow word by word together: one n-gram after the other would wait for each multiplication.
    """
    out = np.empty((1024, 2), np.int64)
    values = np.empty(BLOCK, np.uint64)
    filled, begin = 0, 0
    for text in range(len(counts)):
        end = begin + counts[text]
        for start in range(begin, end, BLOCK):
            values[:] = GOLDEN
            reached = 0
            for number in range(len(lengths)):
                length = lengths[number]
                size = min(BLOCK, end - length + 1 - start)  # n-grams of this length that begin in the block
                if size < 1:
                    break
                for word in range(reached, length):
                    for place in range(size):
                        values[place] = mix(values[place] ^ words[start + word + place])
                reached = length
                first, mask = bounds[number], np.uint64(bounds[number + 1] - bounds[number] - 1)
                for place in range(size):
                    bits = _bits(values[place])
                    if sieves[first + np.int64(values[place] & mask)] & bits == bits:
                        there = np.searchsorted(grams, values[place])
                        if there < len(grams) and grams[there] == values[place]:
                            if filled == len(out):
                                larger = np.empty((2 * filled, 2), np.int64)
                                larger[:filled] = out
                                out = larger
                            out[filled, 0], out[filled, 1] = text, there
                            filled += 1
        begin = end
    return out[:filled].copy()
