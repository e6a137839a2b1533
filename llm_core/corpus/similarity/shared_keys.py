"""Which keys of a band several texts may share, counted by their high bits, before any are held or sorted.

Most texts are alone in their slot. A count (0, 1 or more than once) takes two bits, so that the table of a million
texts fits the processor's cache.
"""

import numpy as np

from llm_core.kernels.arrays import Bytes, Hashes, Ints
from llm_core.runtime.compilation import njit

EACH = 4  # counts in a byte


def key_counts(texts: int, most: int) -> Bytes:
    """An empty table for the keys of so many texts: uint8, a power of two of slots, at most `most` (at least 2^12)."""
    slots = 1 << 12
    while slots < 8 * texts and 2 * slots <= most:
        slots *= 2
    return np.zeros(slots // EACH, np.uint8)


@njit(inline="always")
def _place(key: np.uint64, mask: np.uint64) -> tuple[np.uint64, np.uint8]:
    """Byte of a key's count in the table, and how far its bits are from the right."""
    slot = (key >> np.uint64(32)) & mask
    return slot // np.uint64(EACH), np.uint8(2 * (slot % np.uint64(EACH)))


@njit()
def count_keys(keys: Hashes, sizes: Ints, met: Bytes) -> None:
    """Count the keys (uint64 [n]) of texts with shingles in `met`, a table of `key_counts`.

    `sizes`: int64 [n], shingles of each text.
    """
    mask = np.uint64(EACH * len(met) - 1)
    for row in range(len(keys)):
        if sizes[row] > 0:
            place, shift = _place(keys[row], mask)
            if (met[place] >> shift) & 3 < 2:
                met[place] += np.uint8(1 << shift)


@njit()
def may_be_shared(keys: Hashes, sizes: Ints, met: Bytes) -> Ints:
    """Places of the keys that may equal another one: int64. The others: see `count_keys`."""
    mask = np.uint64(EACH * len(met) - 1)
    places = np.empty(len(keys), np.int64)
    count = 0
    for row in range(len(keys)):
        place, shift = _place(keys[row], mask)
        if sizes[row] > 0 and (met[place] >> shift) & 3 > 1:
            places[count] = row
            count += 1
    return places[:count].copy()
