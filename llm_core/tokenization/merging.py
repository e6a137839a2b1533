"""BPE's merges as a table, and the ids that they give a piece of text: those of `tokenizers`' BPE.

The merge of the lowest rank comes first, the leftmost among equals. A short piece looks through all its pairs for each
merge; a long one keeps them in a heap, so that its time does not grow with the square of its length.
"""

import heapq
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llm_core.kernels.arrays import Bytes, Ints
from llm_core.kernels.tables import FREE, number_place
from llm_core.runtime.compilation import njit
from llm_core.tokenization.layout import Vocabulary

LONG = 96  # bytes; a longer piece is merged with a heap and not remembered
NO_PAIR = FREE


class MergeTable(NamedTuple):
    """Open-addressing table: pair (left << 32 | right) -> rank << 32 | id of the merged token."""

    keys: Ints
    values: Ints
    byte_ids: Ints
    """int64 [256]: id of each byte"""


def merge_table(vocabulary: Vocabulary) -> MergeTable:
    """The merges of a vocabulary, for compiled code. If a pair occurs twice, the later rank counts."""
    tokens = vocabulary.tokens
    ids = [(tokens[left], tokens[right], tokens[left + right]) for left, right in vocabulary.merges]
    array = np.array(ids, np.int64).reshape(-1, 3)
    size = 1 << (2 * len(ids) + 1).bit_length()
    keys, values = np.full(size, NO_PAIR, np.int64), np.zeros(size, np.int64)
    _fill(keys, values, (array[:, 0] << 32) | array[:, 1], array[:, 2].copy())
    return MergeTable(keys, values, np.array([tokens[bytes([byte])] for byte in range(256)], np.int64))


@njit(nogil=True)
def _fill(keys: Ints, values: Ints, pairs: Ints, ids: Ints) -> None:
    """Put merges, `pairs` (left << 32 | right) and `ids` of the merged tokens, into a table; int64 [merges] both."""
    for rank in range(len(pairs)):
        slot = number_place(keys, pairs[rank])
        keys[slot] = pairs[rank]
        values[slot] = (rank << 32) | ids[rank]


@njit(nogil=True)
def _look_up(merges: MergeTable, left: int, right: int) -> int:
    """rank << 32 | id of the pair's merge; NO_PAIR where there is none."""
    slot = number_place(merges.keys, (left << 32) | right)
    return int(merges.values[slot]) if merges.keys[slot] != NO_PAIR else NO_PAIR


@njit(nogil=True)
def merge_short(data: Bytes, start: int, stop: int, merges: MergeTable, symbols: Ints, found: Ints) -> int:
    """Write the ids of a short piece, `data[start:stop]`, to `symbols`, and return their number.

    `found[i]` is the merge of symbols i and i + 1; int64 [LONG] both.
    """
    n = stop - start
    for i in range(n):
        symbols[i] = merges.byte_ids[data[start + i]]
    for i in range(n - 1):
        found[i] = _look_up(merges, symbols[i], symbols[i + 1])
    while n > 1:
        best = -1
        for i in range(n - 1):
            if found[i] != NO_PAIR and (best < 0 or found[i] < found[best]):
                best = i
        if best < 0:
            break
        symbols[best] = found[best] & 0xFFFFFFFF
        n -= 1
        for i in range(best + 1, n):
            symbols[i] = symbols[i + 1]
            found[i - 1] = found[i]
        if best > 0:
            found[best - 1] = _look_up(merges, symbols[best - 1], symbols[best])
        if best < n - 1:
            found[best] = _look_up(merges, symbols[best], symbols[best + 1])
    return n


@njit(nogil=True)
def merge_long(
    data: Bytes,
    start: int,
    stop: int,
    merges: MergeTable,
    out: npt.NDArray[np.unsignedinteger],
    n: int,
) -> int:
    """Write the ids of a long piece to `out` from `n` on, in O(bytes log bytes), and return where they end."""
    length = stop - start
    symbols, following, previous = np.empty(length, np.int64), np.empty(length, np.int64), np.empty(length, np.int64)
    queue = [(0, 0)]  # merge (rank and id), place
    queue.pop()
    for i in range(length):
        symbols[i], following[i], previous[i] = merges.byte_ids[data[start + i]], i + 1, i - 1
    for i in range(length - 1):
        merge = _look_up(merges, symbols[i], symbols[i + 1])
        if merge != NO_PAIR:
            heapq.heappush(queue, (merge, i))
    while len(queue) > 0:
        merge, i = heapq.heappop(queue)
        if symbols[i] < 0 or following[i] >= length:
            continue
        right = following[i]
        if _look_up(merges, symbols[i], symbols[right]) != merge:
            continue  # one of the two was merged meanwhile
        symbols[i], symbols[right] = merge & 0xFFFFFFFF, -1
        following[i] = following[right]
        if following[i] < length:
            previous[following[i]] = i
            merge = _look_up(merges, symbols[i], symbols[following[i]])
            if merge != NO_PAIR:
                heapq.heappush(queue, (merge, i))
        if previous[i] >= 0:
            merge = _look_up(merges, symbols[previous[i]], symbols[i])
            if merge != NO_PAIR:
                heapq.heappush(queue, (merge, int(previous[i])))
    i = 0
    while i < length:
        out[n] = symbols[i]
        n += 1
        i = int(following[i])
    return n
