# ruff: noqa: SIM102, SIM110 (numba compiles plain comparisons and loops to faster code)
"""Splitting a whitespace chunk into tokens as spaCy's blank English tokenizer does, compiled, for the common shapes.

datatrove counts words with spaCy, which takes off prefixes and suffixes by turns and then cuts at infixes, by regular
expressions over classes of characters. The same loop is implemented here for letters, marks and punctuation of the
scripts in Unicode's first plane. A chunk that has other characters (symbols, emoji), is longer, might be an address, or
holds more than a plain token of spaCy's table of special cases is left to spaCy itself (`token_memo.py`), so that
nothing is guessed. Both agree on every chunk of a corpus and on random ones (tests, docs/explanation/cleaning.md).

What a character is comes from the installed spaCy (`token_tables.py`).
"""

import numpy as np

from llm_core.corpus.cleaning.kernels_text import BASE, finish, mixed
from llm_core.kernels.arrays import Bytes, Hashes, Ints, Small
from llm_core.kernels.tables import place
from llm_core.kernels.utf8 import decode
from llm_core.runtime.compilation import njit

LOWER, UPPER, DIGIT, SUFFIX, QUOTE, BEFORE_STOP, KNOWN, PREFIX = (1 << bit for bit in range(8))  # a character's traits
LETTER = LOWER | UPPER
PLANE = 0x10000  # code points whose traits are known
LONGEST = 256  # maximum code points of a chunk that is split here
MOST_TOKENS = 20
EN_DASH, EM_DASH, ELLIPSIS = 0x2013, 0x2014, 0x2026
ALONE = np.uint64(1)  # marks the key of a special case that leaves a token as it is
WORD, ALPHA, PUNCT, SENTENCE_END = 1, 2, 4, 8  # flags of a token


@njit()
def split_chunk(
    data: Bytes, begin: int, end: int, tables: tuple[Bytes, Ints], special_keys: Hashes, special_mask: int,
    longest_special: int, codes: Small, kinds: Bytes, bounds: Ints,
) -> int:  # fmt: skip
    """Number of tokens of the chunk data[begin:end]; 0 where spaCy must be asked.

    `data`: uint8 [bytes], UTF-8. `tables`: what `token_tables.character_classes` returns. `special_keys`: uint64
    [special_mask + 1], a table of the hashes of spaCy's special cases, of which none is longer than `longest_special`
    code points. Written: `codes`: int32 [LONGEST], the chunk's code points; `kinds`: uint8 [LONGEST], their traits;
    `bounds`: int64 [3 * MOST_TOKENS], where each token begins in `codes`, and the last ends.
    """
    traits, units = tables
    length = 0
    position = begin
    while position < end:
        if length == LONGEST:
            return 0
        code, width = decode(data, position)
        kind = traits[code] if code < len(traits) else 0
        if kind == 0:
            return 0
        codes[length] = code
        kinds[length] = kind
        length += 1
        position += width
    left, right = 0, length
    tokens = count = 0  # tokens before and behind the core; those behind begin in the last third of `bounds`
    tail = MOST_TOKENS * 3 - 1
    while left < right:  # spaCy takes off a prefix and a suffix at a time, until there are none
        before = _prefix(codes, kinds, left, right)
        behind = _suffix(codes, kinds, left + before, right, units)
        if behind < 0 or tokens + count + 3 >= MOST_TOKENS:
            return 0
        if before:
            bounds[tokens] = left
            tokens += 1
            left += before
        if behind:
            right -= behind
            bounds[tail - count] = right
            count += 1
        if before + behind == 0:
            break
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


@njit()
def _prefix(codes: Small, kinds: Bytes, left: int, right: int) -> int:
    """Length of the prefix that spaCy takes off codes[left:right]; 0 for none."""
    code = codes[left]
    if code == 0x2E:  # only an ellipsis
        dots = _dots(codes, left, right)
        return dots if dots > 1 else 0
    if code == 0x2B and left + 1 < right and kinds[left + 1] & DIGIT:  # a plus sign, but of no number
        return 0
    if kinds[left] & PREFIX:
        return 1
    if (code == 0x43 or code == 0x41) and left + 1 < right and codes[left + 1] == 0x24:  # C$ A$
        return 2
    if code == 0x55 and left + 2 < right and codes[left + 1] == 0x53 and codes[left + 2] == 0x24:  # US$
        return 3
    return 0


@njit()
def _suffix(codes: Small, kinds: Bytes, left: int, right: int, units: Ints) -> int:
    """Length of the suffix that spaCy takes off codes[left:right], the longest one; 0 for none, -1 for unsure."""
    size = right - left
    if size == 0:
        return 0
    last, kind = codes[right - 1], kinds[right - 1]
    if last == 0x2E:
        dots = 1
        while dots < size and codes[right - 1 - dots] == 0x2E:
            dots += 1
        if dots > 1:
            return dots
        if size > 1 and kinds[right - 2] & BEFORE_STOP:
            return 1
        return 1 if size > 2 and kinds[right - 2] & UPPER and kinds[right - 3] & UPPER else 0
    if last == ELLIPSIS:
        return 2 if size > 1 and codes[right - 2] == ELLIPSIS else 1
    if kind & SUFFIX:
        return 1
    if (last == 0x73 or last == 0x53) and size > 1 and (codes[right - 2] == 0x27 or codes[right - 2] == 0x2019):  # 's
        return 2
    if last == 0x2B:  # a plus sign
        return 1 if size > 1 and kinds[right - 2] & DIGIT else 0
    if kind & DIGIT:
        return 0
    value, plain, found = 0, True, 0
    for width in range(1, min(size, 7)):  # a unit or a currency behind a digit
        code = codes[right - width]
        plain = plain and code < 0x80
        if width <= 4:
            value += code << (8 * (width - 1))
        if kinds[right - width - 1] & DIGIT:
            if not plain:
                return -1
            if width <= 4 and _holds(units, value):
                found = width
    return found


@njit()
def _holds(values: Ints, value: int) -> bool:
    """Whether `value` is among `values`: int64 [values]."""
    for other in values:
        if other == value:
            return True
    return False


@njit()
def _dots(codes: Small, left: int, right: int) -> int:
    """Number of full stops that codes[left:right] begins with."""
    dots = 0
    while left + dots < right and codes[left + dots] == 0x2E:
        dots += 1
    return dots


@njit()
def _core(codes: Small, kinds: Bytes, left: int, right: int, bounds: Ints, tokens: int, most: int) -> int:
    """Split what is between prefixes and suffixes at infixes; the number of tokens so far, or 0 for unsure.

    `bounds` has `tokens` tokens already, and room for `most`.
    """
    start = index = left
    dots, address = 0, False  # spaCy splits no address: a stop and two small letters, or four numbers
    while index < right:
        if codes[index] == 0x2E:
            dots += 1
            address |= index + 2 < right and kinds[index + 1] & kinds[index + 2] & LOWER != 0
        width = _infix(codes, kinds, left, right, index)
        if width == 0:
            index += 1
            continue
        if tokens + 3 >= most:
            return 0
        if index > start:
            bounds[tokens] = start
            tokens += 1
        bounds[tokens] = index
        tokens += 1
        index += width
        start = index
    if start > left and (address or dots > 2):
        return 0
    if start < right:
        bounds[tokens] = start
        tokens += 1
    return tokens


@njit()
def _infix(codes: Small, kinds: Bytes, left: int, right: int, index: int) -> int:
    """Length of the infix that begins at `index` of codes[left:right]; 0 for none."""
    code = codes[index]
    if code == 0x2E:
        dots = _dots(codes, index, right)
        if dots > 1:
            return dots
    if code == ELLIPSIS:
        return 1
    if kinds[index] & (LETTER | DIGIT) or index == left or index + 1 == right:
        return 0
    before, after = kinds[index - 1], kinds[index + 1]
    if code == 0x2E:  # between lower and upper case
        return 1 if before & (LOWER | QUOTE) and after & (UPPER | QUOTE) else 0
    if code == 0x2B or code == 0x2D or code == 0x2A or code == 0x5E:  # + - * ^ between numbers
        if before & DIGIT and (after & DIGIT or codes[index + 1] == 0x2D):
            return 1
    if code == 0x2C:
        return 1 if before & LETTER and after & LETTER else 0
    if not before & (LETTER | DIGIT):
        return 0
    if code == 0x2D:  # up to three hyphens before a letter
        for width in range(1, 4):
            if index + width >= right:
                return 0
            if kinds[index + width] & LETTER:
                return width
            if codes[index + width] != 0x2D:
                return 0
        return 0
    if code == EM_DASH and index + 2 < right and codes[index + 1] == EM_DASH and kinds[index + 2] & LETTER:
        return 2
    if code in (EN_DASH, EM_DASH):
        return 1 if after & LETTER else 0
    if code == 0x7E or code == 0x3A or code == 0x3C or code == 0x3E or code == 0x3D or code == 0x2F:  # ~ : < > = /
        return 1 if after & LETTER else 0
    return 0


@njit()
def _has_special(codes: Small, bounds: Ints, tokens: int, keys: Hashes, mask: int, longest: int) -> bool:
    """Whether neighbouring tokens together spell one of spaCy's special cases, except one that is a token anyway."""
    for first in range(tokens):
        value = np.uint64(0)
        for last in range(first, tokens):
            if bounds[last + 1] - bounds[first] > longest:
                break
            for index in range(bounds[last], bounds[last + 1]):
                value = value * BASE + mixed(codes[index])
            key = finish(value)
            if keys[place(keys, mask, key)] != 0:
                if first < last or keys[place(keys, mask, key ^ ALONE)] == 0:
                    return True
    return False


@njit()
def token_flags(codes: Small, begin: int, end: int, features: Bytes) -> int:
    """Flags of the token codes[begin:end]; `features`: uint8 [code points], those of each as a token of its own."""
    flags = PUNCT
    for index in range(begin, end):
        feature = features[codes[index]]
        flags |= feature & (WORD | ALPHA)
        flags &= feature | ~PUNCT
    if end - begin == 1:
        flags |= features[codes[begin]] & SENTENCE_END
    return flags
