"""A random permutation of 0 … n-1 that is computed, not stored.

A Feistel network on the smallest even number of bits that can hold `n`, applied until the result is
below `n` (cycle walking; Black and Rogaway 2002, "Ciphers with Arbitrary Finite Domains").
Any position can be computed directly, on any rank, in O(1) memory, as a global shuffle
with random access needs. Four rounds give a good shuffle (Luby and Rackoff 1988); eight are
run because they cost little. It is no encryption.
"""

import hashlib
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

ROUNDS = 8


class Permutation:
    """The permutation of `range(size)` that `key` names; the same key gives the same one anywhere."""

    def __init__(self, size: int, *key: int | str) -> None:
        self.size = size
        self._half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
        digest = hashlib.blake2b(repr((size, *key)).encode(), digest_size=8 * ROUNDS).digest()
        self._keys = np.frombuffer(digest, dtype="<u8")

    def __call__(self, positions: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Where `positions` (each in 0 … size-1) go: int64, of the same shape.

        Raises IndexError for a position outside the range.
        """
        return self._walk(positions, self._rounds)

    def inverse(self, positions: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Where `positions` come from: `inverse(self(x)) == x`. Raises IndexError as the call does."""
        return self._walk(positions, self._rounds_back)

    def _walk(
        self, positions: npt.ArrayLike, rounds: Callable[[npt.NDArray[np.uint64]], npt.NDArray[np.uint64]]
    ) -> npt.NDArray[np.int64]:
        values = np.asarray(positions, dtype=np.int64)
        if values.size and (values.min() < 0 or values.max() >= self.size):
            raise IndexError(f"position outside 0 … {self.size - 1}")
        out = rounds(values.astype(np.uint64).ravel())
        while (outside := out >= self.size).any():
            out[outside] = rounds(out[outside])
        return out.astype(np.int64).reshape(values.shape)

    def _rounds(self, values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        half, mask = np.uint64(self._half), np.uint64((1 << self._half) - 1)
        left, right = values >> half, values & mask
        for key in self._keys:
            left, right = right, left ^ (_mix(right ^ key) & mask)
        return (left << half) | right

    def _rounds_back(self, values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        half, mask = np.uint64(self._half), np.uint64((1 << self._half) - 1)
        left, right = values >> half, values & mask
        for key in self._keys[::-1]:
            left, right = right ^ (_mix(left ^ key) & mask), left
        return (left << half) | right


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of splitmix64: every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
