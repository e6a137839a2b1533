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
def count_keys(keys: Hashes, sizes: Ints, met: Bytes) -> int:
    """Count the keys (uint64 [n]) of texts with shingles in `met` (uint8 [slots]: 0, 1 or more than once).

    How many keys share a slot with another one, as far as these show it. `sizes`: int64 [n], shingles of each text.
    """
    mask, shared = np.uint64(len(met) - 1), 0
    for row in range(len(keys)):
        if sizes[row] > 0:
            slot = (keys[row] >> np.uint64(32)) & mask
            if met[slot] == 1:
                shared += 1  # the one that was there
            shared += met[slot] > 0
            met[slot] = min(met[slot] + 1, 2)
    return shared


@njit()
def may_be_shared(keys: Hashes, sizes: Ints, met: Bytes, parts: int, part: int) -> Ints:
    """Places of the keys of a part of the key space that may equal another one: int64. The others: see `count_keys`."""
    mask = np.uint64(len(met) - 1)
    places = np.empty(len(keys), np.int64)
    count = 0
    for row in range(len(keys)):
        key = keys[row]
        if (
            sizes[row] > 0
            and met[(key >> np.uint64(32)) & mask] > 1
            and (parts == 1 or key % np.uint64(parts) == np.uint64(part))
        ):
            places[count] = row
            count += 1
    return places[:count].copy()
