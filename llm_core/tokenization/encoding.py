"""Text to token ids, compiled: the ids of `tokenizers`, at many times its speed.

Most words of a text have occurred before. Each piece of text that the pre-tokenizer cuts is looked
up in a memo of encoded pieces; only a new one is merged, by the rules of
`tokenizers`' BPE (lowest rank first, leftmost among equals). The memo is bounded: when it is full it
is emptied, so memory does not grow with the input. Figures: docs/explanation/tokens.md.
"""

import heapq
import threading
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm_core.kernels.arrays import Bytes, Hashes, Ints
from llm_core.kernels.eight_bytes import READ, SHORT, short_key
from llm_core.kernels.tables import FREE, number_place
from llm_core.kernels.word_table import FULL, WordTable, find_or_add, word_table
from llm_core.runtime.compilation import njit
from llm_core.tokenization.layout import Vocabulary
from llm_core.tokenization.pre_tokenizer import character_classes, word_end
from llm_core.tokenization.short_pieces import COUNT_SHIFT, IDS, free_slot, short_pieces, slot_of
from llm_core.tokenization.training.counting import text_bytes

MEMO_WORDS = 1 << 18  # 20 MB per thread with their text and ids
MEMO_BYTES = 1 << 22
LONG = 96  # bytes; a longer piece is merged with a heap and not remembered
NO_PAIR = FREE


class MergeTable(NamedTuple):
    """Open-addressing table: pair (left << 32 | right) -> rank << 32 | id of the merged token."""

    keys: Ints
    values: Ints
    byte_ids: Ints
    """int64 [256]: id of each byte"""


class Memo(NamedTuple):
    """What is remembered of the pieces encoded so far; make one with `memo`."""

    table: WordTable
    starts: Ints
    """int64 [words + 1]: the ids of word i are `ids[starts[i]:starts[i + 1]]`"""
    ids: npt.NDArray[np.uint32]
    short: Hashes
    """short pieces of few ids: up to IDS of them in a slot, of 32 bits each, their number in the piece's high number"""


def memo() -> Memo:
    """An empty memo."""
    starts, ids = np.zeros(MEMO_WORDS + 1, np.int64), np.zeros(MEMO_BYTES, np.uint32)
    return Memo(word_table(MEMO_WORDS, MEMO_BYTES), starts, ids, short_pieces())


class Encoder:
    """Encodes batches of text; names of special tokens in a text are ordinary text. Threads may share it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.size, self.digest = vocabulary.size, vocabulary.digest
        self.dtype = np.uint16 if vocabulary.size <= 1 << 16 else np.uint32
        self._merges = merge_table(vocabulary)
        self._memos = threading.local()

    def encode(self, texts: pa.LargeStringArray, ends: bool = False) -> tuple[npt.NDArray[np.unsignedinteger], Ints]:
        """Ids of all texts one after another, and where each text's ids begin (int64 [texts + 1]).

        With `ends`, each text gets a begin token before it and an end token after it.
        """
        data, offsets = text_bytes(texts)
        if not hasattr(self._memos, "memo"):
            self._memos.memo = memo()
        room = int(offsets[-1] - offsets[0]) + 2 * len(texts) + IDS
        out: npt.NDArray[np.unsignedinteger] = np.empty(room, self.dtype)
        bos, eos = (self.vocabulary.bos, self.vocabulary.eos) if ends else (NO_PAIR, NO_PAIR)
        starts = _encode(
            data, offsets, character_classes(), self.vocabulary.digits, self.vocabulary.runs, self._merges,
            self._memos.memo, out, bos, eos,
        )  # fmt: skip
        return out[: int(starts[-1])].copy(), starts

    def encode_pieces(self, arena: Bytes, starts: Ints) -> tuple[npt.NDArray[np.unsignedinteger], Ints]:
        """Ids of pieces of text as the pre-tokenizer cuts them, one after another, and where each piece's ids begin.

        Piece i is `arena[starts[i]:starts[i + 1]]` (uint8; int64 [pieces + 1]).
        """
        out: npt.NDArray[np.unsignedinteger] = np.empty(int(starts[-1]), self.dtype)
        id_starts = _encode_pieces(arena, starts, self._merges, out)
        return out[: int(id_starts[-1])], id_starts


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
def _encode(
    data: npt.NDArray[np.uint8],
    offsets: Ints,
    classes: npt.NDArray[np.uint8],
    digits: int,
    runs: bool,
    merges: MergeTable,
    memo: Memo,
    out: npt.NDArray[np.unsignedinteger],
    bos: int,
    eos: int,
) -> Ints:
    """Write the ids of texts to `out`; returns where each text's ids begin: int64 [texts + 1].

    `data` (uint8) and `offsets` (int64 [texts + 1]) are the texts, `classes` uint8 [0x110000]. `out` has room for one
    id per byte, two per text and IDS more; `bos` and `eos` are ids, or NO_PAIR for none.
    """
    starts = np.zeros(len(offsets), np.int64)
    symbols, found = np.zeros(LONG, np.int64), np.zeros(LONG, np.int64)
    half, count_shift = np.uint64(0xFFFFFFFF), np.uint64(COUNT_SHIFT)
    n = 0
    for text in range(len(offsets) - 1):
        if bos >= 0:
            out[n] = bos
            n += 1
        place, end = offsets[text], offsets[text + 1]
        while place < end:
            stop = word_end(data, place, end, classes, digits, runs)
            size = stop - place
            if size == 1:
                out[n] = merges.byte_ids[data[place]]
                n += 1
                place = stop
                continue
            low, high, slot = np.uint64(0), np.uint64(0), -1
            if size <= SHORT and place + READ <= len(data):
                low, high = short_key(data, place, size)
                slot = slot_of(memo.short, low, high)
            if slot >= 0:
                first, second = memo.short[slot, 2], memo.short[slot, 3]
                out[n], out[n + 1] = first & half, first >> np.uint64(32)  # also those that are none: no branch
                out[n + 2], out[n + 3] = second & half, second >> np.uint64(32)
                n += int(np.int64(memo.short[slot, 1] >> count_shift))
            elif size > LONG:
                n = _merge_long(data, place, stop, merges, out, n)
            else:
                word = _word(data, place, stop, merges, memo, symbols, found)
                for i in range(memo.starts[word], memo.starts[word + 1]):
                    out[n] = memo.ids[i]
                    n += 1
                if high != 0:
                    _remember(memo, word, low, high)
            place = stop
        if eos >= 0:
            out[n] = eos
            n += 1
        starts[text + 1] = n
    return starts


@njit(nogil=True)
def _word(data: Bytes, start: int, stop: int, merges: MergeTable, memo: Memo, symbols: Ints, found: Ints) -> int:
    """Number in the memo of the piece `data[start:stop]`, which is encoded where it is new; `symbols`, `found`: see
    `_merge`."""
    known = memo.table.used[0]
    word = find_or_add(memo.table, data, start, stop)
    if word == FULL:  # empty the memo and go on
        memo.table.slots[:] = -1
        memo.table.used[:] = 0
        known = 0
        word = find_or_add(memo.table, data, start, stop)
    if word == known:
        begin = memo.starts[word]
        length = _merge(data, start, stop, merges, symbols, found)
        for i in range(length):
            memo.ids[begin + i] = symbols[i]
        memo.starts[word + 1] = begin + length
    return word


@njit(nogil=True)
def _remember(memo: Memo, word: int, low: np.uint64, high: np.uint64) -> None:
    """Put a short piece, which is that word of the memo, into a slot, unless it has more than IDS ids."""
    begin, count = memo.starts[word], memo.starts[word + 1] - memo.starts[word]
    if count <= IDS:
        slot = free_slot(memo.short, low, high)
        memo.short[slot, 0], memo.short[slot, 1] = low, high | np.uint64(count) << np.uint64(COUNT_SHIFT)
        memo.short[slot, 2:] = 0
        for i in range(count):
            memo.short[slot, 2 + i // 2] |= np.uint64(memo.ids[begin + i]) << np.uint64(32 * (i & 1))


@njit(nogil=True)
def _encode_pieces(arena: Bytes, starts: Ints, merges: MergeTable, out: npt.NDArray[np.unsignedinteger]) -> Ints:
    """Write the ids of pieces (see `Encoder.encode_pieces`) to `out`; where each piece's begin: int64 [pieces + 1]."""
    id_starts = np.zeros(len(starts), np.int64)
    symbols, found = np.zeros(LONG, np.int64), np.zeros(LONG, np.int64)
    n = 0
    for piece in range(len(starts) - 1):
        place, stop = starts[piece], starts[piece + 1]
        if stop - place > LONG:
            n = _merge_long(arena, place, stop, merges, out, n)
        else:
            for i in range(_merge(arena, place, stop, merges, symbols, found)):
                out[n] = symbols[i]
                n += 1
        id_starts[piece + 1] = n
    return id_starts


@njit(nogil=True)
def _merge(data: npt.NDArray[np.uint8], start: int, stop: int, merges: MergeTable, symbols: Ints, found: Ints) -> int:
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
def _merge_long(
    data: npt.NDArray[np.uint8],
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
