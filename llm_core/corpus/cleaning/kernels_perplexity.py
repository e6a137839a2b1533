"""Text as the tokens of the perplexity score, in compiled code.

A word is that of `kernels/words.py`; any other visible character is a word by itself. Words are compared in lower case,
digits as 0, quotation marks and dashes as those of ASCII (CCNet normalises so too, and removes accents besides). A word
that the vocabulary lacks is spelled, character by character, with a mark behind it: one token for all unknown words
would make a text of nothing but unknown words likely. Each line is a sequence, with a token before and one behind it.
"""

import unicodedata
from functools import cache

import numpy as np

from llm_core.corpus.cleaning.kernels_text import BASE, finish, mixed
from llm_core.kernels.arrays import Bytes, Hashes, Ints, Small
from llm_core.kernels.tables import place
from llm_core.kernels.utf8 import decode
from llm_core.kernels.words import ALONE, INVISIBLE, MARK, OTHER, character_classes
from llm_core.runtime.compilation import njit

LINE, LINE_END, WORD_END, UNKNOWN_CHARACTER = range(4)
"""Tokens: before a line, behind it, behind a spelled word, and for a character that the reference lacks."""
FIRST = 4
"""The first token of a character; those of the words are behind the characters'."""
SPACE, BREAK = 0x20, 0x0A
NOTHING = 255  # above all classes of characters
ALIKE = {"'": "‘’‚‛`´", '"': "“”„‟«»"}


@cache
def folded() -> Small:
    """The character as which each code point is compared, int32 [0x110000]; whitespace is SPACE or BREAK."""
    table = np.arange(0x110000, dtype=np.int32)
    for code in range(0x20000):  # no digit, capital, dash or space is beyond
        char = chr(code)
        category = unicodedata.category(char)
        if category == "Nd":
            table[code] = ord("0")
        elif category == "Pd":
            table[code] = ord("-")
        elif char.isspace():
            table[code] = BREAK if char in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029" else SPACE
        elif category in ("Lu", "Lt"):
            lower = char.lower()
            table[code] = ord(lower) if len(lower) == 1 else code
    for char, others in ALIKE.items():
        table[[ord(other) for other in others]] = ord(char)
    return table


def tables() -> tuple[Small, Bytes]:
    """What the kernels know of characters: `folded()` and `character_classes()`."""
    return folded(), character_classes()


@njit(nogil=True)
def next_word(data: Bytes, i: int, end: int, fold: Small, classes: Bytes) -> tuple[int, int, np.uint64]:
    """The next word of data[i:end]: where it begins and ends, and its hash (0 for a line end, or the end of all)."""
    while i < end:
        code, width = decode(data, i)
        seen, kind = fold[code], classes[code]
        if seen == BREAK:
            return i, i + width, np.uint64(0)
        if seen == SPACE or kind == INVISIBLE:
            i += width
            continue
        begin, value = i, mixed(seen)
        i += width
        joined = NOTHING if kind == OTHER else MARK if kind == ALONE else ALONE + 1  # the lowest class that goes on
        while i < end:
            code, width = decode(data, i)
            if classes[code] < joined:
                break
            if classes[code] != INVISIBLE:
                value = value * BASE + mixed(fold[code])
            i += width
        return begin, i, finish(value)
    return end, end, np.uint64(0)


@njit(nogil=True)
def word_hashes(data: Bytes, bounds: Ints, fold: Small, classes: Bytes) -> Hashes:
    """Hashes of the words of all texts, in order: uint64 [words]."""
    out = np.empty(len(data), np.uint64)
    count = 0
    for text in range(len(bounds) - 1):
        i, end = bounds[text], bounds[text + 1]
        while i < end:
            _, i, value = next_word(data, i, end, fold, classes)
            if value:
                out[count] = value
                count += 1
    return out[:count].copy()


@njit(nogil=True)
def count_characters(data: Bytes, bounds: Ints, fold: Small) -> Ints:
    """How often each character occurs, as it is compared: int64 [0x110000]."""
    counts = np.zeros(0x110000, np.int64)
    i = bounds[0]
    while i < bounds[-1]:
        code, width = decode(data, i)
        counts[fold[code]] += 1
        i += width
    return counts


@njit(nogil=True)
def encode(
    data: Bytes, bounds: Ints, fold: Small, classes: Bytes, characters: Small, keys: Hashes, ids: Small
) -> tuple[Small, Ints, Ints, Ints]:
    """The texts as tokens, int32 [tokens]; the bounds of the lines in them, int64 [lines + 1]; the first line of each
    text, int64 [texts + 1]; the words and line ends of each text, int64 [texts].

    `characters`: int32 [0x110000], each character's token. `keys`: a table of the known words' hashes, uint64 [slots],
    with the token of each in `ids`, int32 [slots].
    """
    mask = len(keys) - 1
    out = np.empty(2 * (bounds[-1] - bounds[0]) + 4 * len(bounds), np.int32)  # a page never written costs no memory
    lines = np.empty((bounds[-1] - bounds[0]) // 2 + len(bounds) + 1, np.int64)
    first, words = np.zeros(len(bounds), np.int64), np.zeros(len(bounds) - 1, np.int64)
    filled = count = 0
    for text in range(len(bounds) - 1):
        i, end = bounds[text], bounds[text + 1]
        opened = False
        while i < end:
            begin, i, value = next_word(data, i, end, fold, classes)
            if value:
                if not opened:
                    lines[count], out[filled], opened = filled, LINE, True
                    count, filled = count + 1, filled + 1
                words[text] += 1
                slot = place(keys, mask, value)
                if keys[slot] == value:
                    out[filled] = ids[slot]
                    filled += 1
                else:
                    while begin < i:
                        code, width = decode(data, begin)
                        if classes[code] != INVISIBLE:
                            out[filled] = characters[fold[code]]
                            filled += 1
                        begin += width
                    out[filled] = WORD_END
                    filled += 1
            if opened and (not value or i >= end):
                words[text] += 1
                out[filled], opened = LINE_END, False
                filled += 1
        first[text + 1] = count
    lines[count] = filled
    return out[:filled].copy(), lines[: count + 1].copy(), first, words
