"""Texts as arrays of 64-bit word hashes, and the n-grams over them.

A word is a run of letters, digits and marks, compared without case, so that punctuation,
spacing and typography do not hide a duplicate. Each distinct white-space chunk is looked at
once and remembered (a bounded memo): corpora repeat their chunks, and everything after is
integer arithmetic. The hash of a chunk does not depend on what was seen before, so results
are the same for any order and any number of workers.
"""

import re
import unicodedata
from hashlib import blake2b

import numba
import numpy as np
import numpy.typing as npt

MEMO_CHUNKS = 1 << 20  # about 200 MB; forgotten whole when full
WORD = re.compile(r"[^\W_]+")
Hashes = npt.NDArray[np.uint64]
_EMPTY: tuple[int, ...] = ()


class WordHasher:
    """Word hashes of texts; holds the memo. Not shared between threads."""

    def __init__(self, memo_chunks: int = MEMO_CHUNKS) -> None:
        self._memo: dict[str, tuple[int, ...]] = {}
        self._memo_chunks = memo_chunks

    def __call__(self, text: str) -> Hashes:
        """uint64 [words]"""
        memo = self._memo
        if len(memo) > self._memo_chunks:
            memo.clear()
        found: list[int] = []
        for chunk in text.split():
            words = memo.get(chunk)
            if words is None:
                words = memo[chunk] = _words(chunk)
            found += words
        return np.array(found, dtype=np.uint64)


def _words(chunk: str) -> tuple[int, ...]:
    plain = unicodedata.normalize("NFKC", chunk).casefold()
    hashes = (blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest() for word in WORD.findall(plain))
    return tuple(int.from_bytes(value, "little") for value in hashes) or _EMPTY


@numba.njit(cache=True)
def ngrams(words: Hashes, n: int) -> Hashes:
    """Hashes of the runs of `n` words, in order: uint64 [max(words - n + 1, 0)].

    A text of fewer words, but at least one, has a single shorter run: itself.
    """
    count = len(words) - n + 1
    if count < 1:
        count = 1 if len(words) else 0
        n = len(words)
    out = np.empty(count, np.uint64)
    for start in range(count):
        value = np.uint64(0x9E3779B97F4A7C15)
        for word in range(start, start + n):
            value = mix(value ^ words[word])
        out[start] = value
    return out


@numba.njit(cache=True)
def mix(value: np.uint64) -> np.uint64:
    """The finalizer of splitmix64 on one value: every input bit reaches every output bit."""
    value += np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@numba.njit(cache=True)
def jaccard(first: Hashes, second: Hashes) -> float:
    """Share of common elements of two sorted arrays without repeats; 0 where both are empty."""
    i = j = common = 0
    while i < len(first) and j < len(second):
        if first[i] == second[j]:
            common += 1
            i += 1
            j += 1
        elif first[i] < second[j]:
            i += 1
        else:
            j += 1
    union = len(first) + len(second) - common
    return common / union if union else 0.0
