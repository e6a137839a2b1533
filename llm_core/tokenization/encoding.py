"""Text to token ids, compiled: the ids of `tokenizers`, at many times its speed.

Most words of a text have occurred before. Each piece of text that the pre-tokenizer cuts is looked
up in a memo of encoded pieces; only a new one is merged (`merging.py`). The memo is bounded: when it is full it
is emptied, so memory does not grow with the input. Figures: docs/explanation/tokens.md.
"""

import threading
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm_core.kernels.arrays import Bytes, Hashes, Ints
from llm_core.kernels.eight_bytes import READ, SHORT, short_key
from llm_core.kernels.word_table import FULL, WordTable, find_or_add, word_table
from llm_core.runtime.compilation import njit
from llm_core.tokenization.layout import Vocabulary
from llm_core.tokenization.merging import LONG, NO_PAIR, MergeTable, merge_long, merge_short, merge_table
from llm_core.tokenization.pre_tokenizer import character_classes, word_end
from llm_core.tokenization.short_pieces import COUNT_SHIFT, IDS, free_slot, short_pieces, slot_of
from llm_core.tokenization.training.counting import text_bytes

MEMO_WORDS = 1 << 18  # 20 MB per thread with their text and ids
MEMO_BYTES = 1 << 22


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
                n = merge_long(data, place, stop, merges, out, n)
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
    `merge_short`."""
    known = memo.table.used[0]
    word = find_or_add(memo.table, data, start, stop)
    if word == FULL:  # empty the memo and go on
        memo.table.slots[:] = -1
        memo.table.used[:] = 0
        known = 0
        word = find_or_add(memo.table, data, start, stop)
    if word == known:
        begin = memo.starts[word]
        length = merge_short(data, start, stop, merges, symbols, found)
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
            n = merge_long(arena, place, stop, merges, out, n)
        else:
            for i in range(merge_short(arena, place, stop, merges, symbols, found)):
                out[n] = symbols[i]
                n += 1
        id_starts[piece + 1] = n
    return id_starts
