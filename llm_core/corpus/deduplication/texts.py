"""The distinct texts of a corpus, numbered by first appearance and found by digest.

An open-addressing table of 16 to 32 bytes a text, mapped from disk like the digests it points to.
A slot holds a text's place + 1 (40 bits; 0: free) under a tag of its digest (24 bits), so that a
probe reads a digest only where it will almost surely be the one looked for.
"""

from pathlib import Path

import numpy as np

from llm_core.formats.disk_columns import ROWS_AT_ONCE, Column
from llm_core.kernels.arrays import Flags, Hashes, Ints
from llm_core.runtime.compilation import njit

PLACE_BITS = 40
FIRST_SLOTS = 1 << 13


class Texts:
    """Places of distinct texts; its files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests = Column(folder, np.uint64, 2)
        self._table = self._slots(FIRST_SLOTS)

    def __len__(self) -> int:
        return len(self._digests)

    @property
    def digests(self) -> Hashes:
        """uint64 [texts, 2]"""
        return self._digests.values

    def places(self, digests: Hashes, present: Flags) -> tuple[Ints, Flags]:
        """Place of each text (-1 where not `present`), and whether it is new: it then gets the next place.

        `digests` is uint64 [batch, 2]; the results are int64 and bool [batch].
        """
        count = len(self)
        self._reserve(count + len(digests))
        places, new = _find_or_add(self._table.values, self.digests, digests, present, count)
        self._digests.resize(count + int(new.sum()))
        return places, new

    def put(self, digests: Hashes, places: Ints) -> None:
        """Take over texts of an earlier run at their places there."""
        count = max(len(self), int(places.max(initial=-1)) + 1)
        self._reserve(count)
        self.digests[places] = digests
        _insert(self._table.values, self.digests, np.unique(places))

    def _reserve(self, count: int) -> None:
        had = len(self)
        self._digests.resize(count)
        if 2 * count > len(self._table):
            slots = len(self._table)
            while 2 * count > slots:
                slots *= 2
            self._table = self._slots(slots)
            for start in range(0, had, ROWS_AT_ONCE):
                _insert(self._table.values, self.digests, np.arange(start, min(start + ROWS_AT_ONCE, had)))

    def _slots(self, count: int) -> Column:
        table = Column(self._folder, np.uint64)
        table.resize(count)
        return table


@njit()
def _slot(table: Hashes, known: Hashes, first: np.uint64, second: np.uint64) -> np.uint64:
    """The slot of a digest (first, second), or the free slot where it belongs.

    `table`: uint64 [slots], 0 for free, else the place + 1 in the low PLACE_BITS bits and a part of the digest above;
    `known`: uint64 [texts, 2], the digests by place.
    """
    mask, tag = np.uint64(len(table) - 1), second >> np.uint64(PLACE_BITS)
    slot = first & mask
    while table[slot] != 0:
        if table[slot] >> np.uint64(PLACE_BITS) == tag:
            place = (table[slot] & np.uint64((1 << PLACE_BITS) - 1)) - np.uint64(1)
            if known[place, 0] == first and known[place, 1] == second:
                break
        slot = (slot + np.uint64(1)) & mask
    return slot


@njit()
def _filled(place: int, second: np.uint64) -> np.uint64:
    """The content of the slot of the text at `place`."""
    return np.uint64(place + 1) | (second >> np.uint64(PLACE_BITS)) << np.uint64(PLACE_BITS)


@njit()
def _insert(table: Hashes, known: Hashes, places: Ints) -> None:
    """Put the texts at `places` (int64 [n]) into the table."""
    for place in places:
        first, second = known[place, 0], known[place, 1]
        table[_slot(table, known, first, second)] = _filled(place, second)


@njit()
def _find_or_add(table: Hashes, known: Hashes, digests: Hashes, present: Flags, count: int) -> tuple[Ints, Flags]:
    """(place, whether new) of each text: int64 [rows], -1 where there is no text, and bool [rows].

    `digests`: uint64 [rows, 2]; `present`: bool [rows], whether there is a text; `count` texts are known before.
    """
    places, new = np.full(len(digests), -1, np.int64), np.zeros(len(digests), np.bool_)
    for row in range(len(digests)):
        if not present[row]:
            continue
        first, second = digests[row, 0], digests[row, 1]
        slot = _slot(table, known, first, second)
        if table[slot] == 0:
            known[count, 0], known[count, 1] = first, second
            table[slot] = _filled(count, second)
            count += 1
            new[row] = True
        places[row] = np.int64(table[slot] & np.uint64((1 << PLACE_BITS) - 1)) - 1
    return places, new
