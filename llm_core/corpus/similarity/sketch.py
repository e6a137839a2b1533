"""A text's sketch: the smallest hashes of its shingles, from which its similarity with any other text is estimated.

The `SIZE` smallest of a set's hashes are a uniform sample of it, and the smallest of a union are found from both
sketches, so the share of the union's smallest that both sets have estimates their Jaccard similarity (bottom-k sketch,
Cohen and Kaplan 2007; Thorup 2013). Its standard error is at most 0.05 with 128 hashes; for texts with fewer shingles
it is exact. A text is compared with many sketches in one pass over its shingles.

The sketch depends on no params: it stays valid for years in a file. No text can be read from it, but whoever has a
text can tell that it was meant.
"""

import base64

import numpy as np
import numpy.typing as npt

from llm_core.corpus.similarity.word_hashes import WordHasher, ngrams
from llm_core.kernels.arrays import Hashes

VERSION = "1"  # raise it when words, shingles or hashes change; sketches of other versions cannot be compared
SHINGLE = 5  # words
SIZE = 128
SHIFT = np.uint64(16)  # 48 of 64 bits are kept: 768 bytes a text, and no chance hits among 10^9 documents
SEED = 0


class Sketcher:
    """Makes the full sets of shingle hashes from which sketches are taken."""

    def __init__(self) -> None:
        self._hasher = WordHasher(SEED)

    def __call__(self, text: str) -> Hashes:
        """Sorted 48-bit hashes of the text's shingles, without repeats: uint64 [shingles]."""
        return np.unique(self.in_order(text))

    def in_order(self, text: str) -> Hashes:
        """The same hashes as the text has them, repeats too: faster for long texts."""
        return shingles_of(self._hasher(text))


def shingles_of(words: Hashes) -> Hashes:
    """48-bit hashes of the shingles over a text's word hashes (those of `WordHasher(SEED)`), in order: uint64."""
    return ngrams(words, SHINGLE) >> SHIFT


def encode(shingles: Hashes) -> str:
    """The sketch of a text's shingles as ASCII; empty for a text without words."""
    if not len(shingles):
        return ""
    octets = shingles[:SIZE].astype(">u8").view(np.uint8).reshape(-1, 8)[:, 2:]
    return f"{VERSION}:{base64.b64encode(octets.tobytes()).decode()}"


def decode(sketch: str) -> Hashes:
    """The hashes of a sketch, sorted: uint64 [at most SIZE]. Raises ValueError where it is none of this version."""
    version, _, body = sketch.partition(":")
    if version != VERSION:
        raise ValueError(f"a sketch of version {version}; this release compares version {VERSION}")
    octets = np.frombuffer(base64.b64decode(body, validate=True), np.uint8)
    if not len(octets) or len(octets) % 6:
        raise ValueError("a broken sketch")
    padded = np.zeros((len(octets) // 6, 8), np.uint8)
    padded[:, 2:] = octets.reshape(-1, 6)
    return padded.reshape(-1).view(">u8").astype(np.uint64)


class Members:
    """A table of bits that tells which of many hashes cannot be in a set (a Bloom filter with one hash function)."""

    BITS_EACH = 32  # one hash in 32 that is not in the set passes, at most

    def __init__(self, hashes: Hashes) -> None:
        size = 1 << max(len(hashes) * self.BITS_EACH, 1 << 12).bit_length()
        self._mask = np.uint64(size - 1)
        self._table = np.zeros(size, np.bool_)
        self._table[hashes & self._mask] = True

    def possible(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """For each hash whether it may be in the set; False is certain."""
        found: npt.NDArray[np.bool_] = self._table[hashes & self._mask]
        return found


class Sketches:
    """Many sketches, to hold texts against."""

    def __init__(self, sketches: list[Hashes]) -> None:
        self._sketches = sketches
        owners = np.repeat(np.arange(len(sketches)), [len(sketch) for sketch in sketches])
        hashes = np.concatenate([np.zeros(0, np.uint64), *sketches])
        order = np.argsort(hashes, kind="stable")
        self._hashes, self._owners = hashes[order], owners[order]
        self._filter = Members(self._hashes)

    def __len__(self) -> int:
        return len(self._sketches)

    @property
    def sizes(self) -> list[int]:
        """Hashes of each sketch."""
        return [len(sketch) for sketch in self._sketches]

    def may_touch(self, shingles: Hashes) -> bool:
        """Whether `shingles` hold a hash of some sketch; False is certain, so most texts need no comparison."""
        return bool(self._filter.possible(shingles).any())

    def touched(self, shingles: Hashes) -> npt.NDArray[np.int64]:
        """How many hashes of each sketch are among `shingles` (in any order): int64 [sketches]."""
        shingles = shingles[self._filter.possible(shingles)]
        place = np.searchsorted(self._hashes, shingles)
        there = place < len(self._hashes)
        there[there] = self._hashes[place[there]] == shingles[there]
        known = np.unique(shingles[there])
        low, high = np.searchsorted(self._hashes, known), np.searchsorted(self._hashes, known, side="right")
        found = [self._owners[first:last] for first, last in zip(low, high, strict=True)]
        return np.bincount(np.concatenate([np.zeros(0, np.int64), *found]), minlength=len(self))

    def alike(self, shingles: Hashes, threshold: float) -> list[int]:
        """Ints of the sketches whose texts are at least so similar (estimated Jaccard) to a text of `shingles`."""
        touched = self.touched(shingles)
        return [
            number for number in np.flatnonzero(touched).tolist() if self._similarity(number, shingles) >= threshold
        ]

    def _similarity(self, number: int, shingles: Hashes) -> float:
        sketch = self._sketches[number]
        smallest = np.union1d(sketch, shingles[:SIZE])[:SIZE]
        both = np.isin(smallest, sketch, assume_unique=True) & np.isin(smallest, shingles, assume_unique=True)
        return float(both.sum() / len(smallest))
