"""Columns that grow on disk: a few numbers for every document of a corpus larger than memory.

Each is an unnamed file, gone with the process, that is mapped into memory: the kernel keeps in
memory what is used and writes out what does not fit, so a stage's own memory does not grow with
the number of documents. Blocks of the disk are taken before anything is written to them (`reserve`).
"""

import errno
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

ROWS = 1 << 12  # a column begins with room for so many
RESERVED_AHEAD = 8  # an eighth more is reserved than is needed now
ROWS_AT_ONCE = 1 << 16  # what passes over columns take into memory


def reserve(file: int, start: int, end: int, folder: Path) -> None:
    """Take the disk's blocks for the bytes `start` to `end` of an open file in `folder`; OSError where it is full.

    A mapped byte without a block that no block is left for is a signal (SIGBUS), which ends the process without a word.
    """
    try:
        os.posix_fallocate(file, start, end - start)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that cannot
            raise OSError(error.errno, os.strerror(error.errno or 0), str(folder)) from None


def mapped(file: int, size: int = 0) -> mmap.mmap:
    """An open file, or its first bytes, mapped for reading and writing.

    A page that is not in memory is read alone. The kernel would read up to megabytes around it, for which it gives up
    other pages where memory is short (decision 0316).
    """
    found = mmap.mmap(file, size)
    found.madvise(mmap.MADV_RANDOM)
    return found


class Column:
    """Rows of one number each, or of `width`, appended to a file in `folder`."""

    def __init__(self, folder: Path, dtype: npt.DTypeLike, width: int = 1) -> None:
        self.dtype, self.width = np.dtype(dtype), width
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with the object
        self._folder = folder
        self._rows = self._room = self._reserved = 0

    def __len__(self) -> int:
        return self._rows

    def append(self, values: npt.NDArray[Any]) -> None:
        """Add rows at the end: [rows] or [rows, width]."""
        start = self._rows
        self.resize(start + len(values))
        self.values[start:] = values

    def resize(self, rows: int) -> None:
        """Have so many rows; new ones are zero where no row has been."""
        if rows > self._room:
            self._room = max(rows, 2 * self._room, ROWS)
            size = self._room * self.width * self.dtype.itemsize
            self._file.truncate(size)
            self._map = mapped(self._file.fileno(), size)
        if (needed := rows * self.width * self.dtype.itemsize) > self._reserved:
            end = min(needed + needed // RESERVED_AHEAD + mmap.PAGESIZE, self._room * self.width * self.dtype.itemsize)
            reserve(self._file.fileno(), self._reserved, end, self._folder)
            self._reserved = end
        self._rows = rows

    @property
    def values(self) -> npt.NDArray[Any]:
        """All rows, to be read and written in place: [rows], or [rows, width] for more than one number a row."""
        if not self._room:
            self.resize(0)
        flat = np.frombuffer(self._map, self.dtype, self._rows * self.width) if self._rows else np.zeros(0, self.dtype)
        return flat.reshape(-1, self.width) if self.width > 1 else flat


def numbers(folder: Path, count: int) -> Column:
    """The column 0, 1, …, count - 1: int64 [count]."""
    column = Column(folder, np.int64)
    for start in range(0, count, ROWS_AT_ONCE):
        column.append(np.arange(start, min(start + ROWS_AT_ONCE, count)))
    return column


def divide(
    rows: Column, part_of: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], parts: int, folder: Path
) -> Iterator[npt.NDArray[Any]]:
    """The rows of part 0, 1, … parts - 1, in each part in their own order; to be read only.

    `part_of` gives the number of the part of each of some rows: integers [rows]. However many parts there are, the rows
    are read twice and written once, into a column in `folder`.
    """
    if parts == 1:
        yield rows.values
        return
    starts = range(0, len(rows), ROWS_AT_ONCE)
    pieces = ((start, rows.values[start : start + ROWS_AT_ONCE]) for start in starts)
    counts = np.zeros(parts, np.int64)
    numbers_of_parts = Column(folder, np.uint32)
    for _, some in pieces:
        here = part_of(some).astype(np.uint32)
        numbers_of_parts.append(here)
        counts += np.bincount(here, minlength=parts)
    ends = np.cumsum(counts)
    room = ends - counts  # where the next row of each part belongs
    divided = Column(folder, rows.dtype, rows.width)
    divided.resize(len(rows))
    for start in starts:
        here = numbers_of_parts.values[start : start + ROWS_AT_ONCE]
        order = np.argsort(here.astype(np.uint16) if parts <= 1 << 16 else here, kind="stable")
        found = np.bincount(here, minlength=parts)
        before = np.repeat(room - (np.cumsum(found) - found), found)
        divided.values[before + np.arange(len(here))] = rows.values[start : start + ROWS_AT_ONCE][order]
        room += found
    for end, count in zip(ends.tolist(), counts.tolist(), strict=True):
        yield divided.values[end - count : end]


def string_buffers(strings: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Of large strings: string i is `data[starts[i]:starts[i + 1]]`; starts int64 [strings + 1], data uint8."""
    starts = np.frombuffer(strings.buffers()[1], np.int64, len(strings) + 1, offset=strings.offset * 8)
    return starts, np.frombuffer(strings.buffers()[2] or b"", np.uint8)


class StringColumn:
    """Strings appended to files in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._bytes, self._ends = Column(folder, np.uint8), Column(folder, np.int64)
        self._ends.append(np.zeros(1, np.int64))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, strings: pa.Array) -> None:
        """Add strings (none of them null) at the end."""
        starts, data = string_buffers(strings.cast(pa.large_string()))
        self._bytes.append(data[starts[0] : starts[-1]])
        self._ends.append(starts[1:] - starts[0] + self._ends.values[-1])

    @property
    def buffers(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
        """String i is `data[starts[i]:starts[i + 1]]`: starts int64 [strings + 1], data uint8 [bytes of all]."""
        return self._ends.values, self._bytes.values

    def take(self, numbers: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_] | None = None) -> pa.Array:
        """The strings of these numbers, null where `mask`: string [numbers]."""
        starts, data = self.buffers
        strings = pa.LargeStringArray.from_buffers(len(self), pa.py_buffer(starts), pa.py_buffer(data))
        return pc.cast(strings.take(pa.array(numbers, mask=mask)), pa.string())
