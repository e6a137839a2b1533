"""MinHash signatures as band keys: who might be alike, without comparing all with all.

A signature is the minimum of each of bands x rows hash functions over a text's shingles
(Broder 1997); the rows of a band are folded into one 64-bit key, and texts that share a key
are candidates. With 14 bands of 8 rows (datatrove's and FineWeb's choice) a pair of Jaccard
0.8 is found with probability 1 - (1 - 0.8^8)^14 = 0.92, one of 0.7 with 0.56. Candidates are
verified by true Jaccard afterwards, so a hash collision drops nothing.
"""

import numpy as np
import numpy.typing as npt

from llm_core.kernels.arrays import Hashes
from llm_core.kernels.hashing import mix
from llm_core.runtime.compilation import njit


def permutations(count: int, seed: int) -> npt.NDArray[np.uint64]:
    """Odd multipliers and offsets of `count` hash functions: uint64 [2, count]."""
    drawn = np.random.default_rng(seed).integers(0, 1 << 64, size=(2, count), dtype=np.uint64, endpoint=False)
    drawn[0] |= np.uint64(1)
    return drawn


@njit(nogil=True)
def band_keys(shingles: Hashes, functions: npt.NDArray[np.uint64], bands: int) -> Hashes:
    """Keys of a text's bands, uint64 [bands]; all zero for a text without shingles.

    `shingles`: uint64 [shingles]; `functions`: uint64 [2, bands * rows], see `permutations`.
    """
    keys = np.zeros(bands, np.uint64)
    if len(shingles) == 0:
        return keys
    multipliers, offsets = functions[0].copy(), functions[1].copy()
    count = len(multipliers)
    rows = count // bands
    lowest = np.full(count, np.uint64(0xFFFFFFFFFFFFFFFF))
    for shingle in shingles:
        for number in range(count):  # one vector loop: no branch, no call
            value = shingle * multipliers[number] + offsets[number]
            lowest[number] = min(lowest[number], value ^ (value >> np.uint64(32)))
    for band in range(bands):
        key = np.uint64(band)
        for row in range(band * rows, (band + 1) * rows):
            key = mix(key ^ lowest[row])
        keys[band] = key
    return keys


@njit(nogil=True)
def distinct(ordered: Hashes) -> Hashes:
    """A sorted array (uint64 [n]) without its repeats."""
    out = np.empty(len(ordered), np.uint64)
    count = 0
    for place in range(len(ordered)):
        if place == 0 or ordered[place] != ordered[place - 1]:
            out[count] = ordered[place]
            count += 1
    return out[:count].copy()
