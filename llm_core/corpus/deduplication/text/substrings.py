"""Runs of bytes that occur in several documents, by a suffix array: exact, whatever their boundaries.

After Lee et al. (2022), "Deduplicating training data makes language models better", who remove runs of 50 tokens and
more. libdivsufsort (by pydivsufsort) sorts the suffixes of all texts, put one after the other in the order of the
documents that keep text. For each place the longest run is found that is in an earlier document too; runs of
`min_bytes` and more are cut, so that the first document keeps its copy. Cuts fall between characters, and not within a
word of ASCII letters. Everything is held in memory: 27 bytes for each byte of text.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa

from llm_core.corpus.deduplication.text.spans import Cuts, Keys
from llm_core.errors import UserError
from llm_core.formats.disk_columns import Column, StringColumn
from llm_core.kernels.arrays import Bytes, Ints, Small
from llm_core.kernels.utf8 import continues
from llm_core.runtime.compilation import njit

BYTES_A_BYTE = 27  # of text: itself, in two orders; suffix array, common prefixes, documents, lengths, holders (4 each)
END = 0xFF  # between texts: no byte of UTF-8


class SubstringFinder:
    """Takes batch after batch of texts; `finish` returns what is to be cut."""

    def __init__(self, folder: Path, min_bytes: int, memory_mb: int) -> None:
        self._folder, self._min_bytes, self._memory_mb = folder, min_bytes, memory_mb
        self._texts, self._keys = StringColumn(folder), Column(folder, np.uint64, 2)

    def add(self, texts: pa.Array, keys: Keys) -> None:
        """Take a batch of texts (large_string) of documents with these keys (uint64 [texts, 2]).

        Raises UserError where there is more text than memory is allowed for.
        """
        self._texts.append(texts)
        self._keys.append(keys)
        size = len(self._texts.buffers[1]) + len(self._keys)
        if size * BYTES_A_BYTE >> 20 > self._memory_mb or size >= 1 << 31:
            raise UserError(
                f"launch.text_deduplication.memory_mb {self._memory_mb}: substrings need {BYTES_A_BYTE} bytes for"
                " each byte of text; raise it (for up to 2 GB of text), take a part, or set unit: paragraph"
            )

    def finish(self) -> Cuts:
        """What is to be cut."""
        from pydivsufsort import divsufsort, kasai

        starts, data = self._texts.buffers
        sizes = np.diff(starts)
        order = np.lexsort(self._keys.values.T[::-1])  # documents, the first holder of text first
        ends = np.cumsum(sizes[order] + 1)
        begins = ends - sizes[order] - 1
        text = np.full(int(ends[-1]) if len(ends) else 0, END, np.uint8)
        for begin, document in zip(begins.tolist(), order.tolist(), strict=True):
            text[begin : begin + sizes[document]] = data[starts[document] : starts[document + 1]]
        cuts = Cuts(self._folder)
        found: dict[int, tuple[Ints, Ints, Ints]] = {}
        if len(text):
            suffixes = divsufsort(text)
            length, holder = _longest_held_earlier(suffixes, kasai(text, suffixes), _owners(ends))
            del suffixes
            for place, document in enumerate(order.tolist()):
                mine = slice(int(begins[place]), int(ends[place]) - 1)
                start, end, by = _runs(text[mine], length[mine], holder[mine], self._min_bytes)
                if len(start):
                    found[document] = start, end, order[by]
        none = np.zeros(0, np.int64)
        for document in range(len(order)):
            start, end, by = found.get(document, (none, none, none))
            cuts.append(np.array([len(start)]), start, end, by)
        return cuts


def _owners(ends: Ints) -> Small:
    """The place of each byte's document: int32 [bytes of all]; `ends`: int64 [documents], where each text ends."""
    return np.repeat(np.arange(len(ends), dtype=np.int32), np.diff(ends, prepend=0))


@njit()
def _longest_held_earlier(suffixes: Small, common: Small, owner: Small) -> tuple[Small, Small]:
    """For each byte the length of the longest run from there that is in an earlier document too, and that document.

    All arrays are int32 [bytes]: `suffixes` is the suffix array, `common[i]` the length of the common prefix of
    suffixes i and i + 1, `owner` the document of each byte. In sorted order, the nearest suffix of an earlier document,
    before or after a suffix, has the longest prefix in common with it; a stack of rising documents holds the
    candidates.
    """
    count = len(suffixes)
    length, holder = np.zeros(count, np.int32), np.full(count, -1, np.int32)
    deepest = owner.max() + 2
    documents, shared = np.zeros(deepest, np.int32), np.zeros(deepest, np.int32)
    for backwards in range(2):
        top = 0
        for step in range(count):
            place = count - 1 - step if backwards else step
            least = np.int32(0)
            if step:
                least = common[place] if backwards else common[place - 1]
            own = owner[suffixes[place]]
            while top and documents[top - 1] >= own:
                top -= 1
                least = min(least, shared[top])
            if top:
                at = suffixes[place]
                if least > length[at]:
                    length[at], holder[at] = least, documents[top - 1]
            documents[top], shared[top] = own, least
            top += 1
    return length, holder


@njit()
def _runs(text: Bytes, length: Small, holder: Small, least: int) -> tuple[Ints, Ints, Ints]:
    """(start, end, holder) of the runs to cut from a text: int64 [runs] each, disjoint and in order.

    `text`: uint8 [bytes]; `length` and `holder`: int32 [bytes], as `_longest_held_earlier` returns them; `least`: the
    minimum length in bytes.
    """
    starts, ends, by = [np.int64(0) for _ in range(0)], [np.int64(0) for _ in range(0)], [np.int64(0) for _ in range(0)]
    size, start, end, who = len(text), -1, -1, -1
    for place in range(size + 1):
        run = 0
        if place < size:
            run = min(length[place], size - place)
        if start >= 0 and (place == size or place > end):
            first, last = _inward(text, start, end)
            if last > first:
                starts.append(np.int64(first))
                ends.append(np.int64(last))
                by.append(np.int64(who))
            start = -1
        if run >= least:
            if start < 0:
                start, end, who = place, place + run, holder[place]
            elif place + run > end:
                end = place + run
    return np.array(starts, np.int64), np.array(ends, np.int64), np.array(by, np.int64)


@njit()
def _inward(text: Bytes, first: int, last: int) -> tuple[int, int]:
    """A run made shorter until it cuts neither a character nor a word of ASCII letters, and joins no two such words."""
    while first < last and (_continues(text, first) or _within_word(text, first)):
        first += 1
    while last > first and (_continues(text, last) or _within_word(text, last)):
        last -= 1
    if 0 < first < last < len(text) and _letter(text[first - 1]) and _letter(text[last]):
        last -= 1  # what parts two words is left between them
        while _continues(text, last):
            last -= 1
    return first, last


@njit()
def _continues(text: Bytes, place: int) -> bool:
    """Whether the byte at `place` continues a character of UTF-8."""
    return bool(place < len(text) and continues(text[place]))


@njit()
def _within_word(text: Bytes, place: int) -> bool:
    """Whether a cut at `place` divides a word of ASCII letters and digits."""
    return bool(0 < place < len(text) and _letter(text[place - 1]) and _letter(text[place]))


@njit()
def _letter(byte: int) -> bool:
    """Whether a byte is an ASCII letter or digit."""
    lower = byte | 0x20
    return bool(48 <= byte <= 57 or 97 <= lower <= 122)
