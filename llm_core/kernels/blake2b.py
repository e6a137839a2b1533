"""BLAKE2b of many short runs of 64-bit numbers, equal to hashlib's, without a call of Python for each.

hashlib keeps the interpreter's lock for inputs of less than 2 KB, so that threads which sign texts would wait for each
other.
"""

import numpy as np

from llm_core.kernels.arrays import Hashes, Ints
from llm_core.runtime.compilation import njit

START = np.array(
    [
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    ],
    np.uint64,
)  # fmt: skip
"""RFC 7693, section 2.6"""
ORDERS = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
        [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
        [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
        [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
        [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
    ],
    np.int64,
)
"""order of a block's numbers in each round (section 2.7); after ten rounds it begins again"""
SETTINGS = np.uint64(0x01010000 ^ 16)
"""no key, 16 bytes of digest"""


@njit(nogil=True)
def digests(words: Hashes, counts: Ints) -> Hashes:
    """The digest of 16 bytes of each run of numbers, 0 for one of none: uint64 [runs, 2], little-endian.

    `words`: uint64 [numbers of all], read as bytes in little-endian order; `counts`: int64 [runs], numbers of each.
    """
    out = np.zeros((len(counts), 2), np.uint64)
    state, block = np.empty(8, np.uint64), np.empty(16, np.uint64)
    start = 0
    for run in range(len(counts)):
        state[:] = START
        state[0] ^= SETTINGS
        done = 0
        while done < counts[run]:
            taken = min(16, counts[run] - done)
            for i in range(16):
                block[i] = words[start + done + i] if i < taken else np.uint64(0)
            done += taken
            _compress(state, block, np.uint64(8 * done), done == counts[run])
        if done:
            out[run, 0], out[run, 1] = state[0], state[1]
        start += done
    return out


@njit(nogil=True, inline="always")
def _turned(value: np.uint64, bits: int) -> np.uint64:
    """`value` rotated to the right by a number of bits."""
    return (value >> np.uint64(bits)) | (value << np.uint64(64 - bits))


@njit(nogil=True, inline="always")
def _mixed(
    a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, one: np.uint64, two: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """The function G of section 3.1 on two numbers of the block."""
    a = a + b + one
    d = _turned(d ^ a, 32)
    c = c + d
    b = _turned(b ^ c, 24)
    a = a + b + two
    d = _turned(d ^ a, 16)
    c = c + d
    b = _turned(b ^ c, 63)
    return a, b, c, d


@njit(nogil=True)
def _compress(state: Hashes, block: Hashes, size: np.uint64, last: bool) -> None:
    """The function F of section 3.2: `state` (uint64 [8]) after one more block (uint64 [16]) of `size` bytes so far."""
    a0, a1, a2, a3 = state[0], state[1], state[2], state[3]
    b0, b1, b2, b3 = state[4], state[5], state[6], state[7]
    c0, c1, c2, c3 = START[0], START[1], START[2], START[3]
    d0, d1, d2, d3 = START[4], START[5], START[6], START[7]
    d0 ^= size
    if last:
        d2 = ~d2
    for number in range(12):
        order = ORDERS[number % 10]
        a0, b0, c0, d0 = _mixed(a0, b0, c0, d0, block[order[0]], block[order[1]])
        a1, b1, c1, d1 = _mixed(a1, b1, c1, d1, block[order[2]], block[order[3]])
        a2, b2, c2, d2 = _mixed(a2, b2, c2, d2, block[order[4]], block[order[5]])
        a3, b3, c3, d3 = _mixed(a3, b3, c3, d3, block[order[6]], block[order[7]])
        a0, b1, c2, d3 = _mixed(a0, b1, c2, d3, block[order[8]], block[order[9]])
        a1, b2, c3, d0 = _mixed(a1, b2, c3, d0, block[order[10]], block[order[11]])
        a2, b3, c0, d1 = _mixed(a2, b3, c0, d1, block[order[12]], block[order[13]])
        a3, b0, c1, d2 = _mixed(a3, b0, c1, d2, block[order[14]], block[order[15]])
    state[0], state[1], state[2], state[3] = (
        state[0] ^ a0 ^ c0, state[1] ^ a1 ^ c1, state[2] ^ a2 ^ c2, state[3] ^ a3 ^ c3
    )  # fmt: skip
    state[4], state[5], state[6], state[7] = (
        state[4] ^ b0 ^ d0, state[5] ^ b1 ^ d1, state[6] ^ b2 ^ d2, state[7] ^ b3 ^ d3
    )  # fmt: skip
