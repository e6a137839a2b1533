"""A cache of short pieces of text in front of the table of all pieces, for compiled code.

Nearly all pieces of a text are short and common. A table of byte strings (`kernels.word_table`) reads seven places of
memory to find one. Here a slot holds the piece itself, as two numbers, and what is known of it, in 32 bytes. Two slots,
a line of the processor's cache, are shared by the pieces with one hash; a new piece takes the first, and the one that
was there moves to the second. So memory is bounded, and what is not found is looked for in the table.
"""

import numpy as np

from llm_core.kernels.arrays import Hashes
from llm_core.kernels.hashing import GOLDEN, MIX
from llm_core.runtime.compilation import njit

PAIR_BITS = 16  # pairs of slots: 4 MB
IDS = 4  # maximum number of token ids in a slot
COUNT_SHIFT = 60  # of the number of ids, above the four bits of the piece's size
KEY = np.uint64((1 << COUNT_SHIFT) - 1)


def short_pieces() -> Hashes:
    """An empty cache: uint64 [slots, 4], the two numbers of a piece (`short_key`) and two of what is known of it."""
    return np.zeros((2 << PAIR_BITS, 4), np.uint64)


@njit(nogil=True, inline="always")
def slot_of(short: Hashes, low: np.uint64, high: np.uint64) -> int:
    """The slot of a piece, -1 where it has none."""
    slot = _first_slot(low, high)
    if short[slot, 0] == low and short[slot, 1] & KEY == high:
        return slot
    slot += 1
    return slot if short[slot, 0] == low and short[slot, 1] & KEY == high else -1


@njit(nogil=True)
def free_slot(short: Hashes, low: np.uint64, high: np.uint64) -> int:
    """The slot in which to put a piece that has none."""
    slot = _first_slot(low, high)
    for field in range(4):
        short[slot + 1, field] = short[slot, field]
    return slot


@njit(nogil=True, inline="always")
def _first_slot(low: np.uint64, high: np.uint64) -> int:
    return int(np.int64(((low ^ high * MIX) * GOLDEN) >> np.uint64(64 - PAIR_BITS))) * 2
