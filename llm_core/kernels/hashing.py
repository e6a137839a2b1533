"""Hash functions of compiled code, one copy of each: FNV-1a, the finalizer of splitmix64, SipHash-2-4.

Which one where: FNV-1a for short byte strings in hash tables whose entries are compared byte by byte, or that live for
one run; splitmix64 to fold 64-bit values into one; SipHash under a key where texts of strangers must not collide at
will (deduplication, decontamination). All arithmetic is modulo 2**64.
"""

import numpy as np

from llm_core.kernels.arrays import Bytes, Hashes
from llm_core.kernels.eight_bytes import lowered
from llm_core.runtime.compilation import njit

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2**64 divided by the golden ratio: an odd multiplier that spreads neighbouring values (Knuth)."""
MIX = np.uint64(0xBF58476D1CE4E5B9)
"""First multiplier of splitmix64."""
FNV_OFFSET, FNV_PRIME = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)


@njit(nogil=True)
def fnv(data: Bytes, start: int, end: int, value: np.uint64) -> np.uint64:
    """FNV-1a of `data[start:end]` (uint8 [bytes]), going on from `value` (FNV_OFFSET for a hash by itself)."""
    for i in range(start, end):
        value = (value ^ np.uint64(data[i])) * FNV_PRIME
    return value


@njit(nogil=True)
def hash_bytes(data: Bytes, start: int, end: int) -> np.uint64:
    """FNV-1a of `data[start:end]`, its high half folded down so that the low bits make a good slot."""
    value = FNV_OFFSET
    for i in range(start, end):  # not through `fnv`, which makes encoding 7 % slower
        value = (value ^ np.uint64(data[i])) * FNV_PRIME
    return value ^ (value >> np.uint64(32))


@njit(nogil=True)
def mix(value: np.uint64) -> np.uint64:
    """The finalizer of splitmix64 on one value: every input bit reaches every output bit."""
    value += GOLDEN
    value = (value ^ (value >> np.uint64(30))) * MIX
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(nogil=True, inline="always")
def _rotated(value: np.uint64, bits: int) -> np.uint64:
    """`value` rotated to the left by a number of bits."""
    return (value << np.uint64(bits)) | (value >> np.uint64(64 - bits))


@njit(nogil=True, inline="always")
def _began(key0: np.uint64, key1: np.uint64) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """SipHash's state before the first bytes."""
    return (
        key0 ^ np.uint64(0x736F6D6570736575),
        key1 ^ np.uint64(0x646F72616E646F6D),
        key0 ^ np.uint64(0x6C7967656E657261),
        key1 ^ np.uint64(0x7465646279746573),
    )


@njit(nogil=True, inline="always")
def _round(a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """One round of SipHash."""
    a += b
    c += d
    b = _rotated(b, 13) ^ a
    d = _rotated(d, 16) ^ c
    a = _rotated(a, 32)
    c += b
    a += d
    b = _rotated(b, 17) ^ c
    d = _rotated(d, 21) ^ a
    c = _rotated(c, 32)
    return a, b, c, d


@njit(nogil=True)
def siphash(data: Bytes, start: int, end: int, key0: np.uint64, key1: np.uint64) -> np.uint64:
    """SipHash-2-4 (Aumasson and Bernstein 2012) of `data[start:end]` under a key of 128 bits, ASCII capitals read as
    small letters."""
    a, b, c, d = _began(key0, key1)
    size = end - start
    for block in range(size // 8 + 5):  # whole words, the last with the length, four rounds more
        value, rounds = np.uint64(0), 1
        if block <= size // 8:
            rounds = 2
            place = start + 8 * block
            for k in range(min(8, end - place)):
                byte = data[place + k]
                if byte >= 65 and byte <= 90:
                    byte |= np.uint8(32)
                value |= np.uint64(byte) << np.uint64(8 * k)
            if block == size // 8:
                value |= np.uint64(size & 0xFF) << np.uint64(56)
        elif block == size // 8 + 1:
            c ^= np.uint64(0xFF)
        d ^= value
        for _ in range(rounds):
            a, b, c, d = _round(a, b, c, d)
        a ^= value
    return a ^ b ^ c ^ d


@njit(nogil=True)
def siphash_short(lows: Hashes, highs: Hashes, count: int, key0: np.uint64, key1: np.uint64, out: Hashes) -> None:
    """`siphash` of `count` short pieces at once, to the front of `out`: several in each vector of the processor.

    `lows` and `highs` (uint64 [count or more]) are their numbers as of `short_key`. Where the high one is 0, the low
    one is taken as it is.
    """
    for i in range(count):
        a, b, c, d = _began(key0, key1)
        low, high = lowered(lows[i]), lowered(highs[i])
        is_long = high >> np.uint64(59) != 0  # eight bytes and more: a block before the last one
        e, f, g, h = _round(a, b, c, d ^ low)
        e, f, g, h = _round(e, f, g, h)
        a, b, c, d = (e ^ low if is_long else a), (f if is_long else b), (g if is_long else c), (h if is_long else d)
        last = high if is_long else low | high
        a, b, c, d = _round(a, b, c, d ^ last)
        a, b, c, d = _round(a, b, c, d)
        a, c = a ^ last, c ^ np.uint64(0xFF)
        a, b, c, d = _round(a, b, c, d)
        a, b, c, d = _round(a, b, c, d)
        a, b, c, d = _round(a, b, c, d)
        a, b, c, d = _round(a, b, c, d)
        out[i] = a ^ b ^ c ^ d if highs[i] != 0 else lows[i]
