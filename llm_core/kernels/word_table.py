"""A hash table of byte strings in flat arrays, for compiled code: piece of text -> 0, 1, 2, …

Open addressing over a power of two of slots, at most half full. The strings are stored one
after another in an arena; a match is confirmed byte by byte, so equal hashes do no harm.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llm_core.kernels.arrays import Bytes
from llm_core.kernels.hashing import hash_bytes
from llm_core.runtime.compilation import njit

FULL = -1


class WordTable(NamedTuple):
    """Make one with `word_table`; `used` holds how many words and how many arena bytes are taken."""

    slots: npt.NDArray[np.int32]
    """int32 [a power of two, at least twice the words]: number of a word, or -1"""
    hashes: npt.NDArray[np.uint64]
    """uint64 [words]"""
    starts: npt.NDArray[np.int64]
    """int64 [words + 1]: where each word begins in the arena"""
    arena: Bytes
    used: npt.NDArray[np.int64]
    """int64 [2]"""


def word_table(words: int, arena_bytes: int) -> WordTable:
    """An empty table for so many words of so many bytes together."""
    return WordTable(
        np.full(1 << (2 * words - 1).bit_length(), -1, np.int32),
        np.zeros(words, np.uint64),
        np.zeros(words + 1, np.int64),
        np.zeros(arena_bytes, np.uint8),
        np.zeros(2, np.int64),
    )


@njit(nogil=True)
def same_bytes(one: Bytes, first: int, other: Bytes, start: int, end: int) -> bool:
    """Whether `one` has the bytes `other[start:end]` (uint8 [bytes]) at `first`; it must be long enough."""
    for i in range(end - start):  # noqa: SIM110 - numba compiles no generator
        if one[first + i] != other[start + i]:
            return False
    return True


@njit(nogil=True)
def find_or_add(table: WordTable, data: Bytes, start: int, end: int) -> int:
    """Number of the word `data[start:end]`, added where it is new; FULL where there is no room to add it."""
    value = hash_bytes(data, start, end)
    mask = np.uint64(len(table.slots) - 1)
    slot = value & mask
    while True:
        word = table.slots[slot]
        if word < 0:
            break
        if table.hashes[word] == value:
            begin = table.starts[word]
            if table.starts[word + 1] - begin == end - start and same_bytes(table.arena, begin, data, start, end):
                return int(word)
        slot = (slot + np.uint64(1)) & mask
    number, begin = table.used[0], table.used[1]
    if number >= len(table.hashes) or begin + end - start > len(table.arena):
        return FULL
    for i in range(end - start):
        table.arena[begin + i] = data[start + i]
    table.slots[slot] = number
    table.hashes[number] = value
    table.starts[number + 1] = begin + end - start
    table.used[0] = number + 1
    table.used[1] = begin + end - start
    return number
