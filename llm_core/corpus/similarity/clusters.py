"""From signatures to clusters: candidates by band, verified by true Jaccard, joined.

Shingle sets and band keys are in scratch files and are read back by pieces of a share of
`memory_mb`, and what is remembered of each text is in columns on disk, so that neither the texts
nor their number need to fit into memory. A cluster is a connected component of verified pairs; which texts it holds
depends on the texts alone, never on order, sharding or workers.

In a bucket of up to `ALL_PAIRS` texts all pairs are compared. In a larger one each text
is compared with the `ALL_PAIRS` smallest ids in it: linear, and still independent of order.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from llm_core.corpus.similarity.forest import find
from llm_core.corpus.similarity.minhash import band_keys, permutations, sorted_set
from llm_core.corpus.similarity.shared_keys import count_keys, key_counts, may_be_shared
from llm_core.corpus.similarity.word_hashes import jaccard, ngrams
from llm_core.formats.disk_columns import Column, divide, mapped
from llm_core.kernels.arrays import Hashes, Ints
from llm_core.runtime.compilation import njit
from llm_core.runtime.memory import memory_share

ALL_PAIRS = 64
PAIRS_AT_ONCE = 1 << 16
KEYS_AT_ONCE = 1 << 16
PART_WORDS = 12  # of memory for each text of a part: its key and number, their sorted copies, and the order


class Near(NamedTuple):
    """What makes two texts near-duplicates."""

    shingle: int
    """words in a shingle"""
    bands: int
    rows: int
    threshold: float
    """minimum Jaccard similarity of their shingle sets"""
    seed: int


class Signatures(NamedTuple):
    """Signatures of texts, one after the other."""

    shingles: Hashes
    """hashes of each text's shingles, sorted and without repeats: uint64 [shingles of all]"""
    sizes: Ints
    """number of shingles of each text: int64 [texts]"""
    keys: Hashes
    """band keys: uint64 [texts, bands]"""

    def take(self, rows: Ints) -> "Signatures":
        """Those of some texts, in the order of `rows` (int64)."""
        starts = np.cumsum(self.sizes) - self.sizes
        return Signatures(_gathered(self.shingles, starts[rows], self.sizes[rows]), self.sizes[rows], self.keys[rows])


class Signer:
    """Makes signatures; threads may share it."""

    def __init__(self, near: Near) -> None:
        self.near = near
        self._functions = permutations(near.bands * near.rows, near.seed)

    def __call__(self, words: Hashes, counts: Ints) -> Signatures:
        """Signatures of texts: `words` uint64 [words of all], `counts` int64 [texts]."""
        return Signatures(*_signed(words, counts, self.near.shingle, self._functions, self.near.bands))


@njit(nogil=True)
def _signed(words: Hashes, counts: Ints, shingle: int, functions: Hashes, bands: int) -> tuple[Hashes, Ints, Hashes]:
    """The fields of `Signatures` for texts: `words` uint64 [words of all], `counts` int64 [texts], `functions` uint64
    [2, bands * rows]."""
    shingles = np.empty(len(words), np.uint64)
    sizes = np.empty(len(counts), np.int64)
    keys = np.empty((len(counts), bands), np.uint64)
    start, end = 0, 0
    for text in range(len(counts)):
        found = sorted_set(ngrams(words[start : start + counts[text]], shingle))
        shingles[end : end + len(found)] = found
        keys[text] = band_keys(found, functions, bands)
        sizes[text] = len(found)
        start += counts[text]
        end += len(found)
    return shingles[:end].copy(), sizes, keys


@njit(nogil=True)
def _gathered(values: Hashes, starts: Ints, sizes: Ints) -> Hashes:
    """The parts `values[starts[i]:starts[i] + sizes[i]]` one after another: uint64 [sum of sizes]."""
    out = np.empty(sizes.sum(), np.uint64)
    end = 0
    for row in range(len(starts)):
        out[end : end + sizes[row]] = values[starts[row] : starts[row] + sizes[row]]
        end += sizes[row]
    return out


class ShingleStore:
    """Signatures appended to files in `folder`; those already there are kept."""

    def __init__(self, folder: Path, near: Near, memory_mb: int = 1024) -> None:
        self.near, self.memory_mb = near, memory_mb
        self._shingles = open(folder / "shingles.u64", "ab")  # noqa: SIM115 - closed by `finish`
        self._keys = [open(folder / f"keys-{band:02}.u64", "ab") for band in range(near.bands)]  # noqa: SIM115
        self._sizes = open(folder / "sizes.i64", "ab")  # noqa: SIM115
        self.count = self._sizes.tell() // 8

    def append(self, signatures: Signatures) -> None:
        """Append the signatures of a batch."""
        signatures.shingles.tofile(self._shingles)
        for keys, file in zip(np.ascontiguousarray(signatures.keys.T), self._keys, strict=True):
            keys.tofile(file)
        signatures.sizes.tofile(self._sizes)
        self.count += len(signatures.sizes)

    def finish(self) -> "Shingles":
        """The texts added, opened for reading."""
        for file in (self._shingles, *self._keys, self._sizes):
            file.close()
        starts, end = Column(Path(self._sizes.name).parent, np.int64), 0
        starts.append(np.zeros(1, np.int64))
        for first in range(0, self.count, KEYS_AT_ONCE):
            sizes = np.fromfile(self._sizes.name, np.int64, KEYS_AT_ONCE, offset=first * 8)
            starts.append(end + np.cumsum(sizes))
            end += int(sizes.sum())
        keys = [Path(file.name) for file in self._keys]
        return Shingles(Path(self._shingles.name), keys, starts.values, self.near, self.memory_mb)


class Shingles:
    """The finished store: `starts` int64 [texts + 1] into the file of shingles, a file of `keys` for each band."""

    def __init__(self, shingles: Path, keys: list[Path], starts: Ints, near: Near, memory_mb: int) -> None:
        self.starts, self.near = starts, near
        self._shingles = np.zeros(0, np.uint64)
        if shingles.stat().st_size:
            with open(shingles, "r+b") as file:  # writable, because kernels are compiled anew for arrays that are not
                self._shingles = np.frombuffer(mapped(file.fileno()), np.uint64)
        self._keys = keys
        self._share = memory_share(memory_mb)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def of(self, number: int) -> Hashes:
        """The shingle set of a text, sorted: uint64 [shingles]."""
        return self._shingles[self.starts[number] : self.starts[number + 1]]

    def similarity(self, first: int, second: int) -> float:
        """True Jaccard similarity of two texts."""
        return float(jaccard(self.of(first), self.of(second)))

    def join(self, order: Callable[[Ints], Ints], forest: Ints) -> None:
        """Join in `forest` the texts that share a band and are at least as alike as the threshold.

        `order` returns the places that sort the given texts by what they are, like `np.argsort`; it decides whom
        members of large buckets are compared with.
        """
        for band in range(self.near.bands):
            for keys, members in self._parts(band):
                placed = np.argsort(keys, kind="stable")
                keys, members = keys[placed], members[placed]
                _order_large_buckets(keys, members, order)
                place = np.zeros(2, np.int64)  # where `_candidates` stopped: second of the pair, first
                while place[0] < len(members):
                    pairs = _candidates(keys, members, self.starts, self.near.threshold, forest, place, PAIRS_AT_ONCE)
                    self._verify(pairs, forest)

    def _parts(self, band: int) -> Iterator[tuple[Hashes, Ints]]:
        """The keys of a band that texts may share, with these texts, by parts of the key space that fit the memory.

        Most texts are alone in their bucket. To count keys by their high bits is faster than to sort them all. What is
        left is divided once, so that the cost does not grow with the number of parts.
        """
        met = key_counts(len(self), self._share)
        for _, keys, sizes in self._key_blocks(band):
            count_keys(keys, sizes, met)
        folder = self._keys[band].parent
        shared = Column(folder, np.uint64, 2)
        for start, keys, sizes in self._key_blocks(band):
            here = may_be_shared(keys, sizes, met)
            shared.append(np.column_stack([keys[here], (here + start).view(np.uint64)]))
        del met
        parts = 1 + len(shared) * PART_WORDS * 8 // self._share
        for rows in divide(shared, lambda rows: rows[:, 0] % np.uint64(parts), parts, folder):
            yield rows[:, 0].copy(), rows[:, 1].view(np.int64).copy()

    def _key_blocks(self, band: int) -> Iterator[tuple[int, Hashes, Ints]]:
        """(number of the first text, keys, numbers of shingles) of all texts in a band, some at a time."""
        with open(self._keys[band], "rb") as file:
            for start in range(0, len(self), KEYS_AT_ONCE):
                keys = np.fromfile(file, np.uint64, KEYS_AT_ONCE)
                yield start, keys, np.diff(self.starts[start : start + len(keys) + 1])

    def _verify(self, pairs: Ints, forest: Ints) -> None:
        """Join the pairs that are alike, reading the shingles of as many texts at once as memory allows."""
        sizes = np.cumsum(8 * (self.starts[pairs + 1] - self.starts[pairs]).sum(axis=1))
        first = 0
        while first < len(pairs):
            before = sizes[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(sizes, before + self._share, side="right")))
            some = pairs[first:last]
            texts = np.unique(some)
            lengths = self.starts[texts + 1] - self.starts[texts]
            flat = _gathered(self._shingles, self.starts[texts], lengths)
            starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
            _join_alike(some, np.searchsorted(texts, some), flat, starts, self.near.threshold, forest)
            first = last


def _order_large_buckets(keys: Hashes, members: Ints, order: Callable[[Ints], Ints]) -> None:
    """Sort the members of every bucket in which not all pairs are compared; `keys` are sorted."""
    bounds = np.flatnonzero(np.diff(keys, prepend=~keys[:1], append=~keys[-1:]))
    for bucket in np.flatnonzero(np.diff(bounds) > ALL_PAIRS):
        here = slice(bounds[bucket], bounds[bucket + 1])
        members[here] = members[here][order(members[here])]


@njit()
def _candidates(
    keys: Hashes, members: Ints, starts: Ints, threshold: float, forest: Ints, place: Ints, limit: int
) -> Ints:
    """Pairs of texts in one bucket, not joined yet, whose sizes allow the threshold: int64 [about `limit`, 2].

    `keys` (uint64 [members], sorted) and `members` (int64 [members]) are the texts of a band, `starts` int64 [texts +
    1] their shingles. The search begins at `place` (int64 [2]: second of the pair, first), which receives where it
    stopped.
    """
    pairs = np.empty((limit + ALL_PAIRS, 2), np.int64)
    count = 0
    second, start = place[0], place[1]
    while second < len(keys) and count < limit:
        if keys[second] != keys[start]:
            start = second
        for first in range(start, min(second, start + ALL_PAIRS)):
            a, b = members[first], members[second]
            sizes = starts[a + 1] - starts[a], starts[b + 1] - starts[b]
            small, large = min(sizes), max(sizes)
            if small >= threshold * large and find(forest, a) != find(forest, b):
                pairs[count, 0], pairs[count, 1] = a, b
                count += 1
        second += 1
    place[0], place[1] = second, start
    return pairs[:count].copy()


@njit()
def _join_alike(pairs: Ints, places: Ints, flat: Hashes, starts: Ints, threshold: float, forest: Ints) -> None:
    """Join the `pairs` (int64 [pairs, 2]) whose similarity reaches the threshold.

    `places` (int64 [pairs, 2]) are their places in `starts` (int64 [texts + 1]), which divides the shingles `flat`.
    """
    for number in range(len(pairs)):
        a, b = find(forest, pairs[number, 0]), find(forest, pairs[number, 1])
        if a == b:
            continue
        one, two = places[number]
        if jaccard(flat[starts[one] : starts[one + 1]], flat[starts[two] : starts[two + 1]]) >= threshold:
            forest[max(a, b)] = min(a, b)
