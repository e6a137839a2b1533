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

PADDED = 16  # shingles: a multiple of what a vector loop takes at once
LARGE_BUCKET = 64


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
    count = len(shingles)
    if count == 0:
        return keys
    padded = np.empty(-(-count // PADDED) * PADDED, np.uint64)  # repeats of one shingle change no minimum
    padded[:count] = shingles
    padded[count:] = shingles[count - 1]
    rows = functions.shape[1] // bands
    for band in range(bands):
        key = np.uint64(band)
        for number in range(band * rows, (band + 1) * rows):
            multiplier, offset = functions[0, number], functions[1, number]
            lowest = np.uint64(0xFFFFFFFFFFFFFFFF)
            for shingle in padded:  # one vector loop: no branch, no call, nothing stored
                value = shingle * multiplier + offset
                lowest = min(lowest, value ^ (value >> np.uint64(32)))
            key = mix(key ^ lowest)
        keys[band] = key
    return keys


@njit(nogil=True)
def sorted_set(hashes: Hashes) -> Hashes:
    """The values of `hashes` (uint64 [n]) sorted and without repeats.

    Hashes are spread evenly, so their high bits put them nearly in order: some three times as fast as sorting by
    comparison. Where many are equal, or chosen to be alike, they are sorted by comparison.
    """
    bits = 1
    while 1 << bits < len(hashes):
        bits += 1
    shift = np.uint64(64 - bits)
    ends = np.zeros((1 << bits) + 1, np.int64)
    for value in hashes:
        ends[np.int64(value >> shift) + 1] += 1
    largest = ends.max()
    for bucket in range(1 << bits):
        ends[bucket + 1] += ends[bucket]
    out = np.empty(len(hashes), np.uint64)
    for value in hashes:
        own = np.int64(value >> shift)
        out[ends[own]] = value
        ends[own] += 1
    if largest > LARGE_BUCKET:
        out.sort()
    count = 0
    for place in range(len(out)):
        value, at = out[place], place
        while at > 0 and out[at - 1] > value:
            out[at] = out[at - 1]
            at -= 1
        out[at] = value
    for place in range(len(out)):
        if place == 0 or out[place] != out[count - 1]:
            out[count] = out[place]
            count += 1
    return out[:count].copy()
