"""Kernels over UTF-8 bytes that the quality rules share: whitespace, lines, and hashes of tokens.

All functions are compiled by numba and work on `data`, the bytes of valid UTF-8 of an Arrow string column (uint8
[bytes]); `begin`, `position` and `end` are places in it, and a span is `data[begin:end]`. Whitespace and line ends are
those of Python's `str.isspace` and `str.splitlines`, lengths are in code points, as in the rules' definitions.

Hashes are polynomials modulo 2**64 over mixed code points (or bytes), so that the hash of a concatenation follows from
those of its parts: h(ab) = h(a) * BASE**len(b) + h(b). Two different strings of one document share a hash with
probability about 2**-64 for each pair, which is ignored.
"""

import numpy as np

from llm_core.kernels.arrays import Bytes
from llm_core.kernels.hashing import GOLDEN, MIX, fnv
from llm_core.kernels.utf8 import decode, last_start
from llm_core.runtime.compilation import njit

BASE = GOLDEN
ONE = np.uint64(1)
SHIFT = np.uint64(32)
POWERS = np.ones(4096, np.uint64)  # BASE**n
for _exponent in range(1, len(POWERS)):
    with np.errstate(over="ignore"):
        POWERS[_exponent] = POWERS[_exponent - 1] * BASE


@njit()
def space_width(data: Bytes, position: int, end: int) -> int:
    """Bytes of the whitespace character (`str.isspace`) at `position`, 0 where there is none."""
    byte = data[position]
    if byte <= 32:
        return 1 if byte == 32 or 9 <= byte <= 13 or 28 <= byte <= 31 else 0
    if byte == 0xC2:
        return 2 if data[position + 1] == 0x85 or data[position + 1] == 0xA0 else 0
    if byte == 0xE1:
        return 3 if data[position + 1] == 0x9A and data[position + 2] == 0x80 else 0
    if byte == 0xE2:
        second, third = data[position + 1], data[position + 2]
        if second == 0x80 and (third <= 0x8A or third == 0xA8 or third == 0xA9 or third == 0xAF):
            return 3
        return 3 if second == 0x81 and third == 0x9F else 0
    if byte == 0xE3:
        return 3 if data[position + 1] == 0x80 and data[position + 2] == 0x80 else 0
    return 0


@njit()
def break_width(data: Bytes, position: int, end: int) -> int:
    """Bytes of the line end (`str.splitlines`) at `position`, 0 where there is none; CR LF counts as one."""
    byte = data[position]
    if byte <= 30:
        if byte == 13:
            return 2 if position + 1 < end and data[position + 1] == 10 else 1
        return 1 if 10 <= byte <= 12 or 28 <= byte <= 30 else 0
    if byte == 0xC2:
        return 2 if data[position + 1] == 0x85 else 0
    if byte == 0xE2 and data[position + 1] == 0x80:
        return 3 if data[position + 2] == 0xA8 or data[position + 2] == 0xA9 else 0
    return 0


@njit()
def strip(data: Bytes, begin: int, end: int) -> tuple[int, int]:
    """Bounds of data[begin:end] without whitespace at its ends, as `str.strip`."""
    while begin < end:
        width = space_width(data, begin, end)
        if width == 0:
            break
        begin += width
    while begin < end:
        last = last_start(data, begin, end)
        if space_width(data, last, end) == 0:
            break
        end = last
    return begin, end


@njit()
def last_character(data: Bytes, begin: int, end: int) -> int:
    """Code point of the last character of a non-empty span."""
    return decode(data, last_start(data, begin, end))[0]


@njit()
def hash_bytes(data: Bytes, begin: int, end: int) -> np.uint64:
    """64-bit hash of a span's bytes."""
    return finish(fnv(data, begin, end, np.uint64(end - begin + 1) * MIX))


@njit()
def finish(value: np.uint64) -> np.uint64:
    """Spread a hash's entropy over all its bits; never 0, which marks an empty slot of a table."""
    value = (value ^ (value >> SHIFT)) * BASE
    value = (value ^ (value >> SHIFT)) * MIX
    return (value ^ (value >> SHIFT)) | ONE


@njit()
def power(length: int) -> np.uint64:
    """BASE**length modulo 2**64."""
    if length < len(POWERS):
        return POWERS[length]
    result, factor = ONE, BASE
    while length:
        if length & 1:
            result = result * factor
        factor = factor * factor
        length >>= 1
    return result


@njit()
def mixed(code_point: int) -> np.uint64:
    """What a code point contributes to a token's polynomial hash."""
    value = (np.uint64(code_point) + ONE) * MIX
    return value ^ (value >> SHIFT)


@njit()
def begins_with(data: Bytes, begin: int, end: int, pattern: Bytes) -> bool:
    """Whether a span begins with `pattern` (uint8 [bytes], lower-case ASCII), ignoring the case of ASCII letters."""
    if end - begin < len(pattern):
        return False
    for index in range(len(pattern)):
        byte = data[begin + index]
        if (byte + 32 if 65 <= byte <= 90 else byte) != pattern[index]:
            return False
    return True
