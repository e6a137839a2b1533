"""Hash tables of numbers in flat arrays, by open addressing with linear probing.

A table has a power of two of slots, at most half of them full. `clear` and `place` keep 64-bit hashes in place of
the hashed values (uint64, 0: free); `number_place` keeps numbers themselves (int64, -1: free). `word_table.py`
keeps byte strings.
"""

import numpy as np

from llm_core.kernels.arrays import Hashes, Ints
from llm_core.kernels.hashing import GOLDEN
from llm_core.runtime.compilation import njit

FREE = -1


@njit(nogil=True)
def clear(keys: Hashes, items: int) -> int:
    """Empty the front part of a table (uint64 [slots]) that is to hold up to `items` keys; the part's mask."""
    size = 16
    while size < 2 * items:
        size *= 2
    keys[:size] = 0
    return size - 1


@njit(nogil=True)
def place(keys: Hashes, mask: int, key: np.uint64) -> int:
    """Slot of a hash (not 0) in a table (uint64 [slots]), or the free slot where it belongs; `mask` is its size - 1."""
    slot = np.int64(key >> np.uint64(32)) & mask
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + 1) & mask
    return int(slot)


@njit(nogil=True)
def number_place(keys: Ints, key: int) -> int:
    """Slot of a number (not -1) in a table (int64 [slots]), or the free slot where it belongs."""
    mask = np.uint64(len(keys) - 1)
    value = np.uint64(key) * GOLDEN
    slot = (value ^ (value >> np.uint64(29))) & mask
    while keys[slot] != FREE and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return int(slot)
