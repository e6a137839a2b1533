"""Counts of each piece of text (a word with its space, a number, a sign …), which BPE training needs.

Memory is bounded by `max_words` distinct pieces. When a corpus has more, the rarest are
dropped (lossy counting; Manku and Motwani 2002), and the log says so: such rare pieces decide
no merge of a vocabulary of usual size. Parts of a corpus are counted apart, in threads or on other machines, and
merged in their order, so that also what is dropped does not depend on who counted.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm_core.kernels.arrays import Hashes, Ints
from llm_core.kernels.eight_bytes import READ, SHORT, short_key
from llm_core.kernels.word_table import FULL, WordTable, find_or_add, word_table
from llm_core.runtime import progress
from llm_core.runtime.compilation import njit
from llm_core.tokenization.pre_tokenizer import character_classes, word_end
from llm_core.tokenization.short_pieces import free_slot, short_pieces, slot_of

MAX_WORDS = 1 << 23  # with their text about 400 MB


class PieceCounts:
    """Counts the pieces of texts, by the policies `digits` and `runs` of the pre-tokenizer."""

    def __init__(self, digits: int, runs: bool, max_words: int = MAX_WORDS) -> None:
        self.digits, self.runs, self.max_words = digits, runs, max_words
        self.complete = True
        """whether no rare piece was dropped"""
        self._short: Hashes | None = None  # made where texts are added
        self._reset(min(max_words, 1 << 16), 1 << 20)

    def add(self, texts: pa.LargeStringArray) -> None:
        """Count the pieces of `texts`."""
        data, offsets = text_bytes(texts)
        classes, place = character_classes(), (0, int(offsets[0]))
        while True:
            if self._short is None:
                self._short = short_pieces()
            counted = self._table, self._short, self._counts
            place = _count(data, offsets, *place, classes, self.digits, self.runs, *counted)
            if place[0] == len(texts):
                return
            self._make_room(len(data))

    def merge(self, arena: npt.NDArray[np.uint8], starts: Ints, counts: Ints) -> None:
        """Add the counts of others, as `result` returns them."""
        piece = 0
        while True:
            piece = _merge(self._table, self._counts, arena, starts, counts, piece)
            if piece == len(counts):
                return
            self._make_room(len(arena))

    @property
    def words(self) -> int:
        """Number of distinct pieces."""
        return int(self._table.used[0])

    def result(self) -> tuple[npt.NDArray[np.uint8], Ints, Ints]:
        """The distinct pieces: their bytes one after another (uint8), where each begins (int64 [n + 1]), their counts
        (int64 [n])."""
        words, size = self._table.used.tolist()
        return self._table.arena[:size], self._table.starts[: words + 1], self._counts[:words]

    def _reset(self, words: int, arena_bytes: int) -> None:
        self._table: WordTable = word_table(words, arena_bytes)
        self._counts: Ints = np.zeros(words, np.int64)
        self._short = None

    def _make_room(self, longest: int) -> None:
        arena, starts, counts = (array.copy() for array in self.result())
        words, threshold = len(self._counts), 0
        if len(counts) < words:  # the arena is full
            self._reset(words, 2 * len(self._table.arena) + longest)
        elif 2 * words <= self.max_words:
            self._reset(2 * words, 2 * len(self._table.arena))
        else:
            self.complete = False
            threshold = int(np.partition(counts, words // 2)[words // 2])
            progress.log(f"sample: more than {words} distinct pieces; those seen {threshold} times or less are dropped")
            self._reset(words, len(self._table.arena))
        _refill(self._table, self._counts, arena, starts, counts, threshold)


def text_bytes(texts: pa.LargeStringArray) -> tuple[npt.NDArray[np.uint8], Ints]:
    """The UTF-8 bytes under an Arrow array and the offsets of its texts in them (int64 [texts + 1]), not copied."""
    texts = texts.cast(pa.large_string())
    buffers = texts.buffers()
    if buffers[1] is None:
        return np.zeros(0, np.uint8), np.zeros(len(texts) + 1, np.int64)
    offsets = np.frombuffer(buffers[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(buffers[2], np.uint8) if buffers[2] is not None else np.zeros(0, np.uint8)
    return data, offsets


@njit(nogil=True)
def _count(
    data: npt.NDArray[np.uint8],
    offsets: Ints,
    text: int,
    place: int,
    classes: npt.NDArray[np.uint8],
    digits: int,
    runs: bool,
    table: WordTable,
    short: Hashes,
    counts: Ints,
) -> tuple[int, int]:
    """Count from byte `place` of `text` on; returns (text, byte) where the table was full, else (texts, 0).

    `data` (uint8) and `offsets` (int64 [texts + 1]) are the texts, `classes` (uint8 [0x110000]) those of
    `pre_tokenizer.py`; `counts` (int64 [words]) belong to the words of `table`, whose numbers are also in `short`."""
    while text < len(offsets) - 1:
        end = offsets[text + 1]
        while place < end:
            stop = word_end(data, place, end, classes, digits, runs)
            low, high, slot = np.uint64(0), np.uint64(0), -1
            if stop - place <= SHORT and place + READ <= len(data):
                low, high = short_key(data, place, stop - place)
                slot = slot_of(short, low, high)
            if slot >= 0:
                word = int(np.int64(short[slot, 2]))
            else:
                word = find_or_add(table, data, place, stop)
                if word == FULL:
                    return text, place
                if high != 0:
                    slot = free_slot(short, low, high)
                    short[slot, 0], short[slot, 1], short[slot, 2] = low, high, np.uint64(word)
            counts[word] += 1
            place = stop
        text += 1
    return text, 0


@njit(nogil=True)
def _merge(table: WordTable, counts: Ints, arena: npt.NDArray[np.uint8], starts: Ints, others: Ints, piece: int) -> int:
    """Add `others` from `piece` on; returns the piece for which the table had no room, or their number."""
    while piece < len(others):
        word = find_or_add(table, arena, starts[piece], starts[piece + 1])
        if word == FULL:
            break
        counts[word] += others[piece]
        piece += 1
    return piece


@njit(nogil=True)
def _refill(
    table: WordTable, counts: Ints, arena: npt.NDArray[np.uint8], starts: Ints, old: Ints, threshold: int
) -> None:
    """Put the words with a count in `old` above `threshold` into an empty table; the other arguments as in `result`."""
    for word in range(len(old)):
        if old[word] > threshold:
            counts[find_or_add(table, arena, starts[word], starts[word + 1])] = old[word]
