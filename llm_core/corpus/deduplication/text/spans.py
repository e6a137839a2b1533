"""Spans of texts: where each begins and ends, and the document that holds another one like it.

Paragraphs and lines are compared by their words, as documents are by `dedup`: a 128-bit digest of word hashes under
a key of the seed. Digests are divided by their low bits, and one part at a time is sorted, so that memory does not
grow with the text. Of like spans the holder is the one in the document of first source, then the longest, then the
least hash of its id; every span like it in another document is a cut. Repetition inside one document is left alone.
"""

import re
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm_core.corpus.similarity.word_hashes import WordHasher
from llm_core.formats.disk_columns import Column, divide, string_buffers
from llm_core.kernels.arrays import Ints
from llm_core.kernels.blake2b import digests

SEPARATORS = {"paragraph": re.compile(rb"\n[ \t\r]*\n\s*"), "line": re.compile(rb"\n\s*")}
ROW_BYTES = 200  # of a record while its part is sorted
LONGEST = (1 << 44) - 1
Keys = npt.NDArray[np.uint64]


class Cuts:
    """Spans of each document, in order; one whose `holder` is a document (0 and up) is to be cut."""

    def __init__(self, folder: Path) -> None:
        self.first = Column(folder, np.int64)
        """number of each document's first span, and the number of all: int64 [documents + 1]"""
        self.start, self.end = Column(folder, np.int64), Column(folder, np.int64)
        """bytes of the document's text: int64 [spans]"""
        self.holder = Column(folder, np.int64)
        """document that keeps an equal span, -1 if this one stays: int64 [spans]"""
        self.first.append(np.zeros(1, np.int64))

    def append(self, counts: Ints, start: Ints, end: Ints, holder: Ints) -> None:
        """Add the spans of some documents: `counts` of each document, the others of each span."""
        self.first.append(self.first.values[-1] + np.cumsum(counts))
        self.start.append(start)
        self.end.append(end)
        self.holder.append(holder)

    def of(self, document: int) -> tuple[Ints, Ints, Ints]:
        """(start, end, holder) of what is to be cut from a document."""
        mine = slice(*self.first.values[document : document + 2].tolist())
        held = self.holder.values[mine] >= 0
        return self.start.values[mine][held], self.end.values[mine][held], self.holder.values[mine][held]


def document_keys(batch: pa.RecordBatch, ranks: dict[str, int]) -> Keys:
    """What the order of documents is decided by, least first: uint64 [documents, 2].

    Rank of the source, then length (the longest first); then a hash of the id.
    """
    keys = np.zeros((batch.num_rows, 2), np.uint64)
    lengths = np.diff(string_buffers(batch.column("text"))[0])
    rank = np.array([ranks.get(source, len(ranks)) for source in batch.column("source").to_pylist()], np.uint64)
    keys[:, 0] = rank << np.uint64(44) | (LONGEST - lengths).astype(np.uint64)
    keys[:, 1] = [
        int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") for name in batch.column("id").to_pylist()
    ]
    return keys


class Spans(NamedTuple):
    """The spans of a batch of texts."""

    counts: Ints
    """spans of each text: int64 [texts]"""
    start: Ints
    """bytes of its text: int64 [spans], as `end`"""
    end: Ints
    records: Keys
    """those with words enough: digest (2), key of the document (2), number of the span: uint64 [chosen, 5]"""


def find_spans(texts: pa.Array, keys: Keys, unit: str, min_words: int, seed: int) -> Spans:
    """The spans of texts (large_string) of documents with these keys (uint64 [texts, 2])."""
    bounds, bytes_of_all = string_buffers(texts)
    data = bytes_of_all[bounds[0] : bounds[-1]].data
    bounds = bounds - bounds[0]
    separator = SEPARATORS[unit]
    inner = np.array(  # text by text: a separator across two would make spans depend on the neighbour
        [end.end() for low, high in pairwise(bounds.tolist()) for end in separator.finditer(data, low, high)], np.int64
    )
    starts = np.unique(np.concatenate([bounds[:-1], inner]))
    starts = starts[starts < bounds[-1]]
    edges = np.append(starts, bounds[-1])
    spans = pa.LargeStringArray.from_buffers(len(starts), pa.py_buffer(edges), pa.py_buffer(data))
    words, counts = _hasher(seed).of_strings(spans)
    before = np.searchsorted(starts, bounds)
    owner = np.repeat(np.arange(len(texts)), np.diff(before))
    number = np.arange(len(starts), dtype=np.uint64)
    records = np.column_stack([digests(words, counts), keys[owner], number])[counts >= min_words]
    return Spans(np.diff(before), starts - bounds[owner], edges[1:] - bounds[owner], records)


@lru_cache(maxsize=4)
def _hasher(seed: int) -> WordHasher:
    return WordHasher(seed)


class SpanFinder:
    """Takes the spans of batch after batch; `finish` returns what is to be cut."""

    def __init__(self, folder: Path, memory_mb: int) -> None:
        self._cuts, self._memory = Cuts(folder), memory_mb << 20
        self._folder, self._records = folder, Column(folder, np.uint64, 5)  # as `Spans.records`

    def add(self, spans: Spans) -> None:
        """Take the spans of a batch of documents, which follow those taken before."""
        records = spans.records.copy()
        records[:, 4] += np.uint64(self._cuts.first.values[-1])
        self._cuts.append(spans.counts, spans.start, spans.end, np.full(len(spans.start), -1, np.int64))
        self._records.append(records)

    def finish(self) -> Cuts:
        """What is to be cut."""
        parts = 1 + len(self._records) * ROW_BYTES // self._memory
        for records in divide(self._records, lambda rows: rows[:, 0] % np.uint64(parts), parts, self._folder):
            self._join(records)
        return self._cuts

    def _join(self, records: Keys) -> None:
        """Point every span to the document that holds its like, where that is another one."""
        records = records[np.lexsort(records.T[::-1])]
        new = np.ones(len(records), np.bool_)
        new[1:] = (records[1:, :2] != records[:-1, :2]).any(axis=1)
        numbers = records[:, 4].astype(np.int64)
        owner = np.searchsorted(self._cuts.first.values, numbers, "right") - 1
        holder = owner[new][np.cumsum(new) - 1]
        other = holder != owner
        self._cuts.holder.values[numbers[other]] = holder[other]
