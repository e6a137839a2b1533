"""Decoding UTF-8 in compiled code."""

from llm_core.kernels.arrays import Bytes
from llm_core.runtime.compilation import njit


@njit(nogil=True, inline="always")
def decode(data: Bytes, i: int) -> tuple[int, int]:
    """(code point, bytes it takes) of the character at byte `i` of valid UTF-8: uint8 [bytes]. Nothing is checked."""
    first = int(data[i])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return ((first & 0x1F) << 6) | (int(data[i + 1]) & 0x3F), 2
    if first < 0xF0:
        return ((first & 0x0F) << 12) | ((int(data[i + 1]) & 0x3F) << 6) | (int(data[i + 2]) & 0x3F), 3
    return (
        ((first & 0x07) << 18)
        | ((int(data[i + 1]) & 0x3F) << 12)
        | ((int(data[i + 2]) & 0x3F) << 6)
        | (int(data[i + 3]) & 0x3F)
    ), 4


@njit(nogil=True, inline="always")
def continues(byte: int) -> bool:
    """Whether a byte continues a character that began before it."""
    return (byte & 0xC0) == 0x80


@njit(nogil=True)
def characters(data: Bytes, start: int, end: int) -> int:
    """Code points in `data[start:end]`."""
    count = 0
    for i in range(start, end):
        if not continues(data[i]):
            count += 1
    return count


@njit(nogil=True)
def last_start(data: Bytes, start: int, end: int) -> int:
    """Where the last character of the non-empty span `data[start:end]` begins."""
    last = end - 1
    while last > start and continues(data[last]):
        last -= 1
    return last
