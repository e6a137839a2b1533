"""The pre-tokenizer as compiled code: where the pattern of `pattern.py` cuts a text.

`word_end` is that regular expression written out as a scanner over UTF-8 bytes, an order of
magnitude faster than a regex engine. The classes letter, number and space are computed
by `tokenizers` itself at start (its Oniguruma has another Unicode version than Python),
so that both always agree; `tests/llm_core/tokenization/test_pre_tokenizer.py` compares them
over all of Unicode and over random text.
"""

from functools import cache

import numpy as np
import numpy.typing as npt

from llm_core.kernels.arrays import Bytes
from llm_core.kernels.eight_bytes import letters
from llm_core.kernels.utf8 import decode
from llm_core.runtime.compilation import njit

OTHER, LETTER, NUMBER, SPACE, LINE_END = range(5)
REPLACEMENT = "\ue000"  # a private-use character, which is in none of the classes
LONG_S = 0x17F  # 's' in another case, so "'ſ" is a contraction to (?i:[sdmt])


@cache
def character_classes() -> Bytes:
    """Class of every code point, as the regex engine of `tokenizers` has it: uint8 [0x110000]."""
    from tokenizers import Regex, normalizers

    # Not the planes without characters (4 to 13) and for private use (15 and 16): the search takes most of a second.
    planes = [np.arange(0xD800), np.arange(0xE000, 0x40000), np.arange(0xE0000, 0xF0000)]
    codes = np.concatenate(planes).astype("<u4")
    text = codes.tobytes().decode("utf-32-le")
    classes = np.zeros(0x110000, np.uint8)
    for number, expression in ((LETTER, r"\p{L}"), (NUMBER, r"\p{N}"), (SPACE, r"\s")):
        replaced = normalizers.Replace(Regex(expression), REPLACEMENT).normalize_str(text)
        changed = np.frombuffer(replaced.encode("utf-32-le"), "<u4") != codes
        classes[codes[changed]] = number
    classes[[0x0A, 0x0D]] = LINE_END
    return classes


@njit(nogil=True, inline="always")
def _run(data: Bytes, i: int, end: int, classes: Bytes, wanted: int) -> int:
    """End of the run of characters of class `wanted` that begins at `i`."""
    while wanted == LETTER and i + 8 <= end:
        taken = letters(data, i)
        i += taken
        if taken < 8:
            break
    while i < end:
        code, width = decode(data, i)
        if classes[code] != wanted:
            break
        i += width
    return i


@njit(nogil=True)
def word_end(data: Bytes, i: int, end: int, classes: Bytes, digits: int, runs: bool) -> int:
    """Where the piece of text that begins at byte `i` ends; a text ends at `end`.

    `digits` and `runs` are the policies of `params.tokenizer`. The branches follow the pattern's alternatives.
    """
    code, width = decode(data, i)
    kind = classes[code]
    after = i + width
    if kind == LETTER:
        return _run(data, after, end, classes, LETTER)
    if kind == NUMBER:
        taken = 1
        while after < end and taken < digits:
            code, width = decode(data, after)
            if classes[code] != NUMBER:
                break
            after += width
            taken += 1
        return after
    if code == 0x27 and after < end:  # ' and a contraction
        one, width = decode(data, after)
        low = one | 0x20 if one < 0x80 else one
        if low == 0x73 or low == 0x64 or low == 0x6D or low == 0x74 or one == LONG_S:
            return after + width
        if after + 1 < end and one < 0x80:
            two = data[after + 1] | 0x20 if data[after + 1] < 0x80 else 0
            if (low == 0x6C and two == 0x6C) or ((low == 0x76 or low == 0x72) and two == 0x65):
                return after + 2
    following = LINE_END
    if after < end:
        following = classes[decode(data, after)[0]]
    if kind != LINE_END and after < end and following == LETTER:
        return _run(data, after, end, classes, LETTER)
    if kind == OTHER or (code == 0x20 and after < end and following == OTHER):
        after = _run(data, after, end, classes, OTHER)
        while after < end and (data[after] == 0x0A or data[after] == 0x0D):
            after += 1
        return after
    if not runs:
        return after
    last, line_ended, j = i, -1, i
    while j < end:  # the whole run of spaces and line ends
        code, width = decode(data, j)
        if classes[code] == LINE_END:
            line_ended = j + width
        elif classes[code] != SPACE:
            break
        last = j
        j += width
    if line_ended >= 0:
        return line_ended
    return j if j == end or last == i else last


@njit(nogil=True)
def count_words(data: Bytes, offsets: npt.NDArray[np.int64], classes: Bytes) -> npt.NDArray[np.int64]:
    """Runs of characters that are neither space nor line end in each text: int64 [texts]."""
    counts = np.empty(len(offsets) - 1, np.int64)
    for text in range(len(counts)):
        i, inside, count = offsets[text], 0, 0
        while i < offsets[text + 1]:
            code, width = decode(data, i)
            kind = classes[code]
            visible = int(kind != SPACE and kind != LINE_END)
            count += visible & ~inside  # no branch, which the processor would guess wrong at each word
            inside = visible
            i += width
        counts[text] = count
    return counts
