"""From shingles to clusters: candidate pairs by band, verified by true Jaccard, joined.

Shingles and band keys go to scratch files that are mapped back, so memory holds 8 bytes a
document and band, not the texts. A cluster is a connected component of verified pairs; which
documents it holds depends on the documents alone, never on order, sharding or workers.

In a bucket of at most `ALL_PAIRS` texts all pairs are looked at. In a larger one each text
is compared with the `ALL_PAIRS` least ids of it: linear, and still independent of order.
"""

from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from llm_core.similarity.minhash import band_keys, permutations
from llm_core.similarity.words import Hashes, jaccard, ngrams

ALL_PAIRS = 64


class Near(NamedTuple):
    """What makes two texts near-duplicates."""

    shingle: int
    """words in a shingle"""
    bands: int
    rows: int
    threshold: float
    """least Jaccard similarity of their shingle sets"""
    seed: int


class ShingleStore:
    """Shingle sets and band keys of texts, appended one by one to scratch files."""

    def __init__(self, folder: Path, near: Near) -> None:
        self.near = near
        self._functions = permutations(near.bands * near.rows, near.seed)
        self._shingles = open(folder / "shingles", "wb")  # noqa: SIM115 - closed by `finish`
        self._keys = open(folder / "keys", "wb")  # noqa: SIM115
        self._starts = [0]

    def add(self, words: Hashes) -> None:
        """Append the text of these word hashes."""
        shingles = np.unique(ngrams(words, self.near.shingle))
        shingles.tofile(self._shingles)
        band_keys(shingles, self._functions, self.near.bands).tofile(self._keys)
        self._starts.append(self._starts[-1] + len(shingles))

    def finish(self) -> "Shingles":
        """The texts added, opened for reading."""
        for file in (self._shingles, self._keys):
            file.close()
        return Shingles(Path(self._shingles.name), Path(self._keys.name), np.array(self._starts), self.near)


class Shingles:
    """The finished store: `starts` int64 [texts + 1], shingles and keys mapped."""

    def __init__(self, shingles: Path, keys: Path, starts: npt.NDArray[np.int64], near: Near) -> None:
        self.starts, self.near = starts, near
        self.shingles = _mapped(shingles)
        self.keys = _mapped(keys).reshape(-1, near.bands)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def similarity(self, first: int, second: int) -> float:
        """True Jaccard similarity of two texts."""
        return float(
            jaccard(
                self.shingles[self.starts[first] : self.starts[first + 1]],
                self.shingles[self.starts[second] : self.starts[second + 1]],
            )
        )

    def pairs(self, order: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Verified pairs (int64 [pairs, 2]): some band in common, and Jaccard at least the threshold.

        `order` (int64 [texts]) is each text's rank by id; it decides whom members of large
        buckets are compared with.
        """
        verified = []
        sizes = np.diff(self.starts)
        for band in range(self.near.bands):
            keys = np.ascontiguousarray(self.keys[:, band])
            members = np.lexsort((order, keys))
            members = members[sizes[members] > 0]
            candidates = _bucket_pairs(keys[members], members, ALL_PAIRS)
            if len(candidates):
                kept = _verify(candidates, self.shingles, self.starts, self.near.threshold)
                verified.append(candidates[kept])
        return np.unique(np.concatenate(verified), axis=0) if verified else np.zeros((0, 2), np.int64)


def components(pairs: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Connected components of `count` texts under `pairs`: a label for each, int64 [count]."""
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _mapped(path: Path) -> Hashes:
    return np.memmap(path, np.uint64, "r") if path.stat().st_size else np.zeros(0, np.uint64)


@numba.njit(cache=True)
def _bucket_pairs(keys: Hashes, members: npt.NDArray[np.int64], limit: int) -> npt.NDArray[np.int64]:
    """Candidate pairs (smaller number first) of texts sorted by key."""
    count = 0
    for fill in range(2):
        if fill:
            pairs = np.empty((count, 2), np.int64)
            count = 0
        start = 0
        while start < len(keys):
            stop = start + 1
            while stop < len(keys) and keys[stop] == keys[start]:
                stop += 1
            for second in range(start + 1, stop):
                for first in range(start, min(second, start + limit)):
                    if fill:
                        a, b = members[first], members[second]
                        pairs[count, 0], pairs[count, 1] = min(a, b), max(a, b)
                    count += 1
            start = stop
    return pairs


@numba.njit(cache=True)
def _verify(
    pairs: npt.NDArray[np.int64], shingles: Hashes, starts: npt.NDArray[np.int64], threshold: float
) -> npt.NDArray[np.bool_]:
    kept = np.zeros(len(pairs), np.bool_)
    for number in range(len(pairs)):
        first, second = pairs[number]
        one, two = shingles[starts[first] : starts[first + 1]], shingles[starts[second] : starts[second + 1]]
        small, large = min(len(one), len(two)), max(len(one), len(two))
        if small >= threshold * large:  # otherwise they cannot be that alike
            kept[number] = jaccard(one, two) >= threshold
    return kept
