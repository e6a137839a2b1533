"""Which keys of a band several texts may share, counted by their high bits, before any are held or sorted.

Most texts are alone in their bucket.
"""

import numpy as np

from llm_core.kernels.arrays import Bytes, Hashes, Ints
from llm_core.runtime.compilation import njit


def slots(texts: int, most: int) -> int:
    """How many slots count the keys of so many texts: a power of two, at most `most` (at least 2^12)."""
    slots = 1 << 12
    while slots < 8 * texts and 2 * slots <= most:
        slots *= 2
    return slots


@njit()
def count_keys(keys: Hashes, sizes: Ints, met: Bytes) -> None:
    """Count the keys (uint64 [n]) of texts with shingles in `met` (uint8 [slots]: 0, 1 or more than once).

    `sizes`: int64 [n], shingles of each text.
    """
    mask = np.uint64(len(met) - 1)
    for row in range(len(keys)):
        if sizes[row] > 0:
            slot = (keys[row] >> np.uint64(32)) & mask
            met[slot] = min(met[slot] + 1, 2)


@njit()
def may_be_shared(keys: Hashes, sizes: Ints, met: Bytes) -> Ints:
    """Places of the keys that may equal another one: int64. The others: see `count_keys`."""
    mask = np.uint64(len(met) - 1)
    places = np.empty(len(keys), np.int64)
    count = 0
    for row in range(len(keys)):
        if sizes[row] > 0 and met[(keys[row] >> np.uint64(32)) & mask] > 1:
            places[count] = row
            count += 1
    return places[:count].copy()
