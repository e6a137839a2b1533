"""A hash table of byte strings in flat arrays, for compiled code: piece of text -> 0, 1, 2, …

Open addressing over a power of two of slots, at most half full. The strings stand one
behind another in an arena; a hit is confirmed byte by byte, so equal hashes do no harm.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

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
    arena: npt.NDArray[np.uint8]
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
def hash_bytes(data: npt.NDArray[np.uint8], start: int, end: int) -> np.uint64:
    """FNV-1a, its high half folded down so that the low bits make a good slot."""
    value = np.uint64(0xCBF29CE484222325)
    for i in range(start, end):
        value = (value ^ np.uint64(data[i])) * np.uint64(0x100000001B3)
    return value ^ (value >> np.uint64(32))


@njit(nogil=True)
def find_or_add(table: WordTable, data: npt.NDArray[np.uint8], start: int, end: int) -> int:
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
            if table.starts[word + 1] - begin == end - start:
                same = True
                for i in range(end - start):
                    if table.arena[begin + i] != data[start + i]:
                        same = False
                        break
                if same:
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
