"""The C4 rules (Raffel et al. 2020) and FineWeb's (Penedo et al. 2024) on bytes and token arrays, as datatrove has
them.

C4 changes documents: it drops lines. What a kernel cannot decide by bytes alone (lower-casing beyond ASCII, citation
marks, which change a line's words) it leaves to the rule's code in Python, with the code ASK.

The array arguments of this module:

- `data`, `bounds`, `starts`, `ends`, `chunks`, `first`, `flags`: the fields of `token_memo.Tokens`, whose shapes are
  there; `begin`, `end`, `left` and `right` are places in `data`;
- `codes`: int64 [documents] and `scores`: float64 [documents], written: 0 for kept, else 1 + index into the rule's
  REASONS, or ASK; and the figure that decided (NaN for none);
- `keys`: uint64 [slots], a table of hashes (`kernels/tables.py`), cleared before each use.
"""

import numpy as np

from llm_core.corpus.cleaning.kernels_sentences import count_sentences
from llm_core.corpus.cleaning.kernels_text import (
    begins_with,
    break_width,
    hash_bytes,
    last_character,
    strip,
)
from llm_core.kernels.arrays import Bytes, Flags, Floats, Hashes, Ints, Small
from llm_core.kernels.tables import clear, place
from llm_core.kernels.utf8 import characters
from llm_core.runtime.compilation import njit

C4_REASONS = ("lorem_ipsum", "curly_bracket", "too_few_sentences")
FINEWEB_REASONS = ("empty", "line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio")
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
PHRASES = tuple(np.frombuffer(phrase.encode(), np.uint8) for phrase in ("lorem ipsum", "javascript", *POLICIES))
LOREM, JAVASCRIPT, POLICY = 1, 2, 252  # bits of the phrases, in their order
BEGINS = np.zeros(256, np.uint8)  # a line's byte -> the phrases that begin with it, in either case
for _number, _phrase in enumerate(PHRASES):
    BEGINS[[_phrase[0], _phrase[0] - 32]] |= 1 << _number
ASK = 127


@njit()
def judge_c4(
    data: Bytes, bounds: Ints, starts: Ints, ends: Ints, chunks: Ints, first: Ints, flags: Bytes,
    limits: Ints, switches: Flags, codes: Ints, scores: Floats, kept: Bytes, kept_bounds: Ints,
) -> None:  # fmt: skip
    """Judge documents by `c4`.

    `limits`: int64 [3]: minimum number of sentences, minimum number of words in a line, maximum word length in code
    points. `switches`: bool [6]: citations, end punctuation, lorem ipsum, JavaScript, curly bracket, policy. Written:
    the kept lines of documents with code 0 to `kept` (uint8 [bytes of data]), the text of document i at
    `kept_bounds[i]` to `kept_bounds[i + 1]` (int64 [documents + 1]).
    """
    size = 0
    for document in range(len(codes)):
        begin, end = bounds[document], bounds[document + 1]
        code, score, size_after = _c4(
            data, begin, end, starts, ends, chunks[document], chunks[document + 1], first, flags, limits, switches,
            kept, size,
        )  # fmt: skip
        codes[document], scores[document] = code, score
        if code == 0:
            size = size_after
        kept_bounds[document + 1] = size


@njit()
def _c4(
    data: Bytes, begin: int, end: int, starts: Ints, ends: Ints, chunk: int, last_chunk: int, first: Ints, flags: Bytes,
    limits: Ints, switches: Flags, kept: Bytes, size: int,
) -> tuple[int, float, int]:  # fmt: skip
    """(code, figure, size of `kept` afterwards) of one document, whose kept lines are written from `size` on."""
    sentences = 0
    lines = 0
    start = position = begin
    while start < end:
        width = 0
        while position < end:
            width = break_width(data, position, end)
            if width:
                break
            position += 1
        left, right = strip(data, start, position)
        position += width
        start = position
        from_chunk = chunk
        longest = 0
        while chunk < last_chunk and starts[chunk] < right:
            if limits[2] >= 0 and ends[chunk] - starts[chunk] > limits[2]:
                longest = max(longest, characters(data, starts[chunk], ends[chunk]))
            chunk += 1
        words = chunk - from_chunk
        if limits[2] >= 0 and longest > limits[2]:
            continue
        plain = True
        bracket = citation = False
        for index in range(left, right):
            byte = data[index]
            if byte >= 0x80:
                plain = False
            elif byte == 0x5B and switches[0]:
                citation = citation or _may_be_citation(data, index, right)
            elif byte == 0x7B:
                bracket = True
        if citation:
            return ASK, np.nan, size
        if switches[1] and not _ends_sentence(data, left, right):
            continue
        if words < limits[1]:
            continue
        if not plain and _has_kelvin(data, left, right):
            return ASK, np.nan, size
        phrases = _phrases(data, left, right)
        if switches[2] and phrases & LOREM:
            return 1, float(lines), size
        if switches[3] and phrases & JAVASCRIPT:
            continue
        if switches[4] and bracket:
            return 2, float(lines), size
        if switches[5] and phrases & POLICY:
            continue
        if limits[0] >= 0:
            sentences += count_sentences(data, starts, ends, from_chunk, chunk, first, flags)
        if lines:
            kept[size] = 10
            size += 1
        kept[size : size + right - left] = data[left:right]
        size += right - left
        lines += 1
    if sentences < limits[0]:
        return 3, float(sentences), size
    return 0, np.nan, size


@njit()
def _may_be_citation(data: Bytes, position: int, end: int) -> bool:
    """Whether what follows a bracket could be a citation mark: digits, `edit`, `citation needed`, or not ASCII."""
    index = position + 1
    while index < end and 48 <= data[index] <= 57:
        index += 1
    if index >= end:
        return False
    byte = data[index]
    return byte == 0x5D or byte >= 0x80 or (index == position + 1 and (byte == 0x65 or byte == 0x63))


@njit()
def _ends_sentence(data: Bytes, left: int, right: int) -> bool:
    """Whether a span ends in a full stop (but not in an ellipsis), a question or exclamation mark, or a quote."""
    if left == right:
        return False
    last = data[right - 1]
    if last != 0x2E:
        return last == 0x3F or last == 0x21 or last == 0x22 or last == 0x27
    return not (right - left >= 3 and data[right - 2] == 0x2E and data[right - 3] == 0x2E)


@njit()
def _has_kelvin(data: Bytes, left: int, right: int) -> bool:
    """Whether the Kelvin sign occurs, the one character beyond ASCII whose lower case is an ASCII letter alone."""
    for index in range(left, right - 2):
        if data[index] == 0xE2 and data[index + 1] == 0x84 and data[index + 2] == 0xAA:
            return True
    return False


@njit()
def _phrases(data: Bytes, left: int, right: int) -> int:
    """Which of PHRASES a span contains, ignoring the case of ASCII letters: a bit for each."""
    found = 0
    for position in range(left, right):
        possible = BEGINS[data[position]]
        if not possible:
            continue
        for number in range(len(PHRASES)):
            if possible >> number & 1 and begins_with(data, position, right, PHRASES[number]):
                found |= 1 << number
    return found


@njit()
def judge_fineweb(
    data: Bytes,
    bounds: Ints,
    chunks: Ints,
    first: Ints,
    limits: Floats,
    exclude_zero: bool,
    marks: Small,
    codes: Ints,
    scores: Floats,
) -> None:
    """Judge documents by `fineweb_quality`.

    `limits`: float64 [5]: minimum share of punctuated lines, maximum share of short lines, maximum length of a short
    line in code points, maximum share of duplicate characters, maximum line feeds per word. `marks`: int32 [marks],
    sorted code points that end a sentence.
    """
    longest = 0
    for document in range(len(codes)):
        longest = max(longest, bounds[document + 1] - bounds[document])
    size = 16
    while size < longest + 4:
        size *= 2
    keys = np.zeros(2 * size, np.uint64)
    for document in range(len(codes)):
        words = first[chunks[document + 1]] - first[chunks[document]]
        codes[document], scores[document] = _fineweb(
            data, bounds[document], bounds[document + 1], words, limits, exclude_zero, marks, keys
        )


@njit()
def _fineweb(
    data: Bytes, begin: int, end: int, words: int, limits: Floats, exclude_zero: bool, marks: Small, keys: Hashes
) -> tuple[int, float]:
    """(code, figure) of one document of `words` tokens."""
    mask = clear(keys, 2 + (end - begin) // 2)
    lines = ended = short = feeds = duplicate = total = 0
    start = begin
    while start <= end:
        stop = start
        while stop < end and data[stop] != 10:
            stop += 1
        size = characters(data, start, stop)
        total += size
        left, right = strip(data, start, stop)
        if left < right:
            lines += 1
            last = last_character(data, start, stop)
            index = np.searchsorted(marks, last)
            if index < len(marks) and marks[index] == last:
                ended += 1
            if size <= limits[2]:
                short += 1
            key = hash_bytes(data, start, stop)
            slot = place(keys, mask, key)
            if keys[slot] == 0:
                keys[slot] = key
            else:
                duplicate += size
        if stop < end:
            feeds += 1
        start = stop + 1
    if lines == 0:
        return 1, 0.0
    ratio = ended / lines
    if ratio < limits[0] and not (ended == 0 and exclude_zero):
        return 2, ratio
    if short / lines > limits[1]:
        return 3, short / lines
    if duplicate / total > limits[3]:
        return 4, duplicate / total
    if feeds / words > limits[4]:
        return 5, feeds / words
    return 0, np.nan
