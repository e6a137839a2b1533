"""Texts as arrays of 64-bit word hashes, and the n-grams over them.

A word is that of `kernels/words.py`, compared without case, so that punctuation, spacing and typography do not hide
a duplicate. Compiled code scans the UTF-8 bytes. Only text that is not ASCII goes through Unicode normalisation first.

Words are hashed by SipHash-2-4 under a key made from the seed: to find two words of equal
hash takes a search of 2^32 words, to find one with a given word's hash a search of 2^64.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm_core.formats.disk_columns import string_buffers
from llm_core.kernels.arrays import Bytes, Hashes
from llm_core.kernels.eight_bytes import READ, SHORT, letters_or_digits, short_key
from llm_core.kernels.hashing import GOLDEN, mix, siphash, siphash_short
from llm_core.kernels.utf8 import decode
from llm_core.kernels.words import ALONE, INVISIBLE, MARK, OTHER, character_classes, normal_form
from llm_core.runtime.compilation import njit

TOGETHER = 256  # words whose hashes are computed together


class WordHasher:
    """Word hashes of texts under a seed; texts change no state, so threads may share it."""

    def __init__(self, seed: int = 0) -> None:
        key = hashlib.blake2b(str(seed).encode(), digest_size=16).digest()
        self._key = np.frombuffer(key, np.uint64)
        self._classes = character_classes()

    def __call__(self, text: str) -> Hashes:
        """Word hashes of a text: uint64 [words]."""
        return self.of_bytes(text.encode("utf-8", "surrogatepass"), text.isascii())

    def of_bytes(self, data: bytes | Bytes, ascii_only: bool) -> Hashes:
        """The same for UTF-8 bytes."""
        if not ascii_only:
            data = normal_form(bytes(data).decode("utf-8", "surrogatepass")).encode("utf-8", "surrogatepass")
        values = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
        return self.of_texts(values, np.array([0, len(values)]))[0]

    def of_texts(self, data: Bytes, starts: npt.NDArray[np.int64]) -> tuple[Hashes, npt.NDArray[np.int64]]:
        """Word hashes of many texts: uint64 [words of all], and words of each: int64 [texts].

        The texts are ASCII or in `normal_form`; text i is `data[starts[i]:starts[i + 1]]`.
        """
        return _hash_texts(data, starts, self._classes, self._key[0], self._key[1])  # type: ignore[no-any-return]

    def of_strings(self, texts: pa.Array) -> tuple[Hashes, npt.NDArray[np.int64]]:
        """The same for texts (large_string) in any form."""
        ascii_only = pc.string_is_ascii(texts)
        if not pc.all(ascii_only).as_py():
            texts = _in_normal_form(texts, ascii_only.to_numpy(zero_copy_only=False))
        starts, data = string_buffers(texts)
        return self.of_texts(data, starts)


def _in_normal_form(texts: pa.Array, ascii_only: npt.NDArray[np.bool_]) -> pa.Array:
    """The texts, those that are not ASCII in the normal form in which words are compared."""
    rows = np.flatnonzero(~ascii_only)
    values = [normal_form(text) for text in texts.take(pa.array(rows)).to_pylist()]
    return pc.replace_with_mask(texts, pa.array(~ascii_only), pa.array(values, texts.type))


@njit(nogil=True)
def _hash_texts(
    data: Bytes, starts: npt.NDArray[np.int64], classes: Bytes, key0: np.uint64, key1: np.uint64
) -> tuple[Hashes, npt.NDArray[np.int64]]:
    """See `WordHasher.of_texts`; `classes` uint8 [0x110000] of `kernels/words.py`, `key0` and `key1` SipHash's key."""
    counts = np.empty(len(starts) - 1, np.int64)
    out = np.empty(int(starts[-1] - starts[0]) // 5 + TOGETHER, np.uint64)
    lows, highs = np.empty(TOGETHER, np.uint64), np.empty(TOGETHER, np.uint64)
    filled, held = 0, 0
    for text in range(len(counts)):
        before, place, end = filled + held, starts[text], starts[text + 1]
        while place < end:
            place, held = _find_words(data, place, end, classes, key0, key1, lows, highs, held)
            if held == TOGETHER:
                if filled + TOGETHER > len(out):
                    larger = np.empty(2 * len(out), np.uint64)
                    larger[:filled] = out[:filled]
                    out = larger
                siphash_short(lows, highs, held, key0, key1, out[filled:])
                filled, held = filled + held, 0
        counts[text] = filled + held - before
    found = np.empty(filled + held, np.uint64)
    found[:filled] = out[:filled]
    siphash_short(lows, highs, held, key0, key1, found[filled:])
    return found, counts


@njit(nogil=True)
def _find_words(
    data: Bytes, i: int, end: int, classes: Bytes, key0: np.uint64, key1: np.uint64, lows: Hashes, highs: Hashes, n: int
) -> tuple[int, int]:
    """Write the words of `data[i:end]` as numbers for `siphash_short` from place `n` on until there is no room.

    Returns where it stopped, and the new number of words. Words that are no short pieces are hashed here.
    """
    while i < end and n < len(lows):
        kind, width = _character(data, i, end, classes)
        start = i
        i += width
        if kind in (OTHER, INVISIBLE):
            continue
        joined = MARK if kind == ALONE else ALONE + 1  # the lowest class that goes on with the word
        hidden = False
        while joined != MARK and i + 8 <= end:
            taken = letters_or_digits(data, i)
            i += taken
            if taken < 8:
                break
        while i < end:
            kind, width = _character(data, i, end, classes)
            if kind < joined:
                break
            hidden |= kind == INVISIBLE
            i += width
        if hidden:
            lows[n], highs[n] = _hash_visible(data, start, i, classes, key0, key1), 0
        elif i - start > SHORT or start + READ > len(data):
            lows[n], highs[n] = siphash(data, start, i, key0, key1), 0
        else:
            lows[n], highs[n] = short_key(data, start, i - start)
        n += 1
    return i, n


@njit(nogil=True)
def _hash_visible(data: Bytes, start: int, end: int, classes: Bytes, key0: np.uint64, key1: np.uint64) -> np.uint64:
    """Hash of a word without its invisible characters."""
    visible = np.empty(end - start, np.uint8)
    size, i = 0, start
    while i < end:
        kind, width = _character(data, i, end, classes)
        if kind != INVISIBLE:
            visible[size : size + width] = data[i : i + width]
            size += width
        i += width
    return siphash(visible, 0, size, key0, key1)  # type: ignore[no-any-return]


@njit(nogil=True, inline="always")
def _character(data: Bytes, i: int, end: int, classes: Bytes) -> tuple[int, int]:
    """Class of the character at byte `i`, and its width in bytes; an invalid byte is a character of class OTHER."""
    first = int(data[i])
    if first < 0x80:
        return int(classes[first]), 1
    width = 2 if first < 0xE0 else 3 if first < 0xF0 else 4
    if first < 0xC0 or i + width > end:
        return 0, 1
    code = decode(data, i)[0]
    return int(classes[code]) if code < 0x110000 else 0, width


@njit(nogil=True)
def ngrams(words: Hashes, n: int) -> Hashes:
    """Hashes of the runs of `n` words, in order: uint64 [max(words - n + 1, 0)].

    A text of fewer words, but at least one, has a single shorter run: itself.
    """
    count = len(words) - n + 1
    if count < 1:
        count = 1 if len(words) else 0
        n = len(words)
    out = np.full(count, GOLDEN, np.uint64)
    for word in range(n):  # all runs by one word at a time: a vector loop
        added = words[word : word + count]
        for start in range(count):
            out[start] = mix(out[start] ^ added[start])
    return out


@njit(nogil=True)
def jaccard(first: Hashes, second: Hashes) -> float:
    """Share of common elements of two sorted arrays without repeats; 0 where both are empty."""
    i = j = common = 0
    while i < len(first) and j < len(second):
        if first[i] == second[j]:
            common += 1
            i += 1
            j += 1
        elif first[i] < second[j]:
            i += 1
        else:
            j += 1
    union = len(first) + len(second) - common
    return common / union if union else 0.0
