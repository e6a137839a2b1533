# ruff: noqa: SIM109 (numba compiles plain comparisons and loops to faster code)
"""Splitting a whitespace chunk into tokens as spaCy's blank English tokenizer does, compiled, for the common shapes.

datatrove counts words with spaCy. Nearly all chunks are letters or digits, perhaps with hyphens or an apostrophe
inside and some punctuation around; for those spaCy's prefix, suffix and infix expressions reduce to the few rules
below. Whatever is of another shape, or has a part that spaCy's table of special cases knows, is left to spaCy itself
(`words.py`), so that the shortcut never has to guess. Both agree on every chunk of a test corpus (tests,
docs/cleaning.md).

The tables are read from the installed spaCy; nothing of it is copied here.
"""

import re
import unicodedata
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from llm_core.cleaning.characters import PUNCTUATION as PUNCTUATION_CHARACTERS
from llm_core.cleaning.kernels_text import decode, finish, mixed, place

OTHER, LOWER, UPPER, DIGIT, PUNCTUATION = range(5)  # classes of characters; OTHER means: ask spaCy
LONGEST = 48  # code points of a chunk that is split here
MOST_TOKENS = 14
WORD, ALPHA, PUNCT, SENTENCE_END = 1, 2, 4, 8  # flags of a token


def character_classes(tokenizer: Any) -> np.ndarray:
    """Class of each code point below 0x3000 by what the tokenizer's expressions say of it; uint8."""
    from spacy.lang.char_classes import ALPHA_LOWER, ALPHA_UPPER

    lower, upper = re.compile(f"[{ALPHA_LOWER}]"), re.compile(f"[{ALPHA_UPPER}]")
    classes = np.zeros(0x3000, np.uint8)
    for code_point in range(0x600):
        char = chr(code_point)
        if "0" <= char <= "9":
            classes[code_point] = DIGIT
        elif char.isalpha() and not tokenizer.find_prefix(char) and not tokenizer.find_suffix(char):
            if lower.fullmatch(char) and tokenizer.find_suffix(char + ".") == 1:
                classes[code_point] = LOWER
            elif upper.fullmatch(char):
                classes[code_point] = UPPER
    for char in ",;:!?()[]{}<>_#*&'\"`\u2018\u2019\u201c\u201d":
        alone = tokenizer.find_prefix(char) == 1 == tokenizer.find_suffix(char)
        if alone and tokenizer.find_suffix(f"{char}.") == 1:
            classes[ord(char)] = PUNCTUATION
    return classes


@njit(cache=True)
def split_chunk(data, begin, end, classes, special_keys, special_mask, longest_special, codes, kinds, bounds):  # type: ignore[no-untyped-def]
    """Number of tokens of data[begin:end], their bounds (in code points) in `bounds`; 0 where spaCy must be asked.

    `codes` receives the chunk's code points; `kinds` is room for their classes.
    """
    length = 0
    position = begin
    while position < end:
        if length == LONGEST:
            return 0
        code, width = decode(data, position)
        codes[length] = code
        kinds[length] = classes[code] if code < len(classes) else OTHER
        length += 1
        position += width
    left = 0
    while left < length and kinds[left] == PUNCTUATION:
        left += 1
    right = length
    count = 0  # tokens behind the core, their starts from the right in the upper half of `bounds`
    tail = MOST_TOKENS * 2
    while right > left:
        step = _suffix(codes, kinds, left, right)
        if step < 0:
            return 0
        if step == 0:
            break
        right -= step
        bounds[tail - count] = right
        count += 1
        if count + left >= MOST_TOKENS - 2:
            return 0
    if left >= MOST_TOKENS - 2:
        return 0
    tokens = 0
    for index in range(left):
        bounds[tokens] = index
        tokens += 1
    if right > left:
        tokens = _core(codes, kinds, left, right, bounds, tokens, MOST_TOKENS - count)
        if tokens == 0:
            return 0
    for index in range(count - 1, -1, -1):
        bounds[tokens] = bounds[tail - index]
        tokens += 1
    bounds[tokens] = length
    if _has_special(codes, bounds, tokens, special_keys, special_mask, longest_special):
        return 0
    return tokens


@njit(cache=True)
def _suffix(codes, kinds, left, right):  # type: ignore[no-untyped-def]
    """Length of the suffix that spaCy takes off codes[left:right]; 0 for none, -1 for unsure."""
    last = codes[right - 1]
    kind = kinds[right - 1]
    if kind == PUNCTUATION:
        return 1
    if last == 0x2E:  # a full stop
        if right - left < 2:
            return -1
        before = kinds[right - 2]
        if before == LOWER or before == DIGIT or before == PUNCTUATION:
            return 1
        if before == UPPER and right - left > 2 and kinds[right - 3] == UPPER:
            return 1
        return -1
    if (last == 0x73 or last == 0x53) and right - left >= 3:  # 's, 'S
        before = codes[right - 2]
        if before == 0x27 or before == 0x2019:
            return 2
    return 0


@njit(cache=True)
def _core(codes, kinds, left, right, bounds, tokens, most):  # type: ignore[no-untyped-def]
    """Split what is between prefixes and suffixes at infixes; the number of tokens so far, or 0 for unsure."""
    bounds[tokens] = left
    tokens += 1
    dots = 0
    for index in range(left, right):
        kind, code = kinds[index], codes[index]
        if kind == LOWER or kind == UPPER:
            if index > left and kinds[index - 1] == DIGIT:
                return 0  # a unit of measure may follow digits
            continue
        if kind == DIGIT:
            continue
        if index == left or index == right - 1:
            return 0
        before, after = kinds[index - 1], kinds[index + 1]
        letter_before = before == LOWER or before == UPPER
        letter_after = after == LOWER or after == UPPER
        if not ((letter_before or before == DIGIT) and (letter_after or after == DIGIT)):
            return 0
        if code == 0x5F or code == 0x27 or code == 0x2019 or code == 0x28:  # _ ' ’ ( inside a word split nothing
            continue
        infix = False
        if code == 0x2D:  # a hyphen splits, but not letters from digits
            infix = letter_after or before == DIGIT
        elif code == 0x2F:  # a slash splits before a letter
            if not letter_after:
                return 0
            infix = True
        elif code == 0x2C:  # a comma splits letters, not digits
            if letter_before != letter_after:
                return 0
            infix = letter_before
        elif code == 0x2E and before == DIGIT and after == DIGIT:
            dots += 1
            if dots > 1:
                return 0  # perhaps an IP address
        else:
            return 0
        if infix:
            if tokens + 2 >= most:
                return 0
            bounds[tokens] = index
            bounds[tokens + 1] = index + 1
            tokens += 2
    return tokens


@njit(cache=True)
def _has_special(codes, bounds, tokens, keys, mask, longest):  # type: ignore[no-untyped-def]
    """Whether any run of neighbouring tokens spells one of spaCy's special cases."""
    for first in range(tokens):
        value = np.uint64(0)
        for last in range(first, tokens):
            if bounds[last + 1] - bounds[first] > longest:
                break
            for index in range(bounds[last], bounds[last + 1]):
                value = value * np.uint64(0x9E3779B97F4A7C15) + mixed(codes[index])
            if keys[place(keys, mask, finish(value))] != 0:
                return True
    return False


@njit(cache=True)
def token_flags(codes, begin, end, features):  # type: ignore[no-untyped-def]
    """Flags of a token of known characters from the flags of its characters (`character_features`)."""
    flags = PUNCT
    for index in range(begin, end):
        feature = features[codes[index]]
        flags |= feature & (WORD | ALPHA)
        flags &= feature | ~PUNCT
    if end - begin == 1:
        flags |= features[codes[begin]] & SENTENCE_END
    return flags


def character_features() -> np.ndarray:
    """Flags of each code point below 0x3000 as a token of its own; uint8."""
    return np.array([flags_of(chr(code_point)) for code_point in range(0x3000)], np.uint8)


def flags_of(token: str) -> int:
    """WORD: not only punctuation; ALPHA: has a letter; PUNCT: only Unicode punctuation; SENTENCE_END: one such mark."""
    flags = 0
    if any(char not in PUNCTUATION_CHARACTERS for char in token):
        flags |= WORD
    if any(char.isalpha() for char in token):
        flags |= ALPHA
    if all(unicodedata.category(char).startswith("P") for char in token):
        flags |= PUNCT
    if token in sentence_ends():
        flags |= SENTENCE_END
    return flags


@cache
def sentence_ends() -> frozenset[str]:
    """The marks after which spaCy's rule-based sentencizer begins a new sentence."""
    from spacy.pipeline.sentencizer import Sentencizer

    return frozenset(Sentencizer.default_punct_chars)
