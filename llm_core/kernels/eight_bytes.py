"""Bytes of text eight at a time in compiled code: as one number, and tests of all eight at once.

Eight loads of a byte at unsigned places become one load of the machine. Signed places would not, because numba lets a
negative one count from the end.
"""

import numpy as np

from llm_core.kernels.arrays import Bytes
from llm_core.runtime.compilation import njit

SHORT = 15
"""Maximum number of bytes of a piece of text that is two numbers."""
READ = 16
"""Bytes that are read for such a piece, whatever its length."""
ONES, HIGH, REST = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080), np.uint64(0x7F7F7F7F7F7F7F7F)


@njit(nogil=True, inline="always")
def eight_bytes(data: Bytes, place: int) -> np.uint64:
    """`data[place:place + 8]` (uint8 [bytes]), the first byte lowest. The bytes must exist: nothing is checked."""
    i = np.uint64(place)
    return (
        np.uint64(data[i])
        | np.uint64(data[i + np.uint64(1)]) << np.uint64(8)
        | np.uint64(data[i + np.uint64(2)]) << np.uint64(16)
        | np.uint64(data[i + np.uint64(3)]) << np.uint64(24)
        | np.uint64(data[i + np.uint64(4)]) << np.uint64(32)
        | np.uint64(data[i + np.uint64(5)]) << np.uint64(40)
        | np.uint64(data[i + np.uint64(6)]) << np.uint64(48)
        | np.uint64(data[i + np.uint64(7)]) << np.uint64(56)
    )


@njit(nogil=True, inline="always")
def short_key(data: Bytes, start: int, size: int) -> tuple[np.uint64, np.uint64]:
    """A piece of 1 to SHORT bytes as two numbers: its first eight bytes, and the others below its size (the top byte).

    READ bytes of `data` from `start` on must exist. Pieces are equal where both numbers are.
    """
    mask = (np.uint64(1) << np.uint64(8 * (size & 7))) - np.uint64(1)
    low, high = eight_bytes(data, start), eight_bytes(data, start + 8)
    is_long = size > 7
    low = low if is_long else low & mask
    high = high & mask if is_long else np.uint64(0)
    return low, high | np.uint64(size) << np.uint64(56)


@njit(nogil=True, inline="always")
def _between(rest: np.uint64, first: int, last: int) -> np.uint64:
    """The high bit of each of eight bytes below 0x80 that is one of `first` to `last`; other bits mean nothing."""
    return (rest + ONES * np.uint64(0x80 - first)) & ~(rest + ONES * np.uint64(0x7F - last))


@njit(nogil=True, inline="always")
def _letters(eight: np.uint64) -> np.uint64:
    """The high bit of each byte that is an ASCII letter below its own high bit; other bits mean nothing."""
    return _between(eight & REST | ONES * np.uint64(0x20), 0x61, 0x7A)


@njit(nogil=True, inline="always")
def lowered(eight: np.uint64) -> np.uint64:
    """Eight bytes with ASCII capitals as small letters."""
    capital = _between(eight & REST, 0x41, 0x5A) & ~eight & HIGH
    return eight | capital >> np.uint64(2)


@njit(nogil=True, inline="always")
def letters(data: Bytes, place: int) -> int:
    """How many of the eight bytes from `place` on are ASCII letters, up to the first that is none."""
    eight = eight_bytes(data, place)
    return _bytes_before(~(_letters(eight) & ~eight) & HIGH)


@njit(nogil=True, inline="always")
def letters_or_digits(data: Bytes, place: int) -> int:
    """How many of the eight bytes from `place` on are ASCII letters or digits, up to the first that is neither."""
    eight = eight_bytes(data, place)
    return _bytes_before(~((_letters(eight) | _between(eight & REST, 0x30, 0x39)) & ~eight) & HIGH)


@njit(nogil=True, inline="always")
def _bytes_before(marked: np.uint64) -> int:
    """Number of bytes before the first one whose high bit is set; other bits are 0; 8 where none is."""
    lowest = marked & (~marked + np.uint64(1))
    below = ((lowest - np.uint64(1)) & ONES) * ONES >> np.uint64(56)  # with the marked byte itself
    return 8 if marked == 0 else int(np.int64(below)) - 1
