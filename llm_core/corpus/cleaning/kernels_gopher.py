"""The Gopher rules on token arrays (Rae et al. 2021, table A1), in datatrove's order and arithmetic.

Both kernels judge documents by number and write a code (0 for kept, else 1 + index into the rule's REASONS) and the
figure that decided. A threshold of 0 switches a rule off, as None and 0 do in datatrove.

The array arguments of this module:

- `data`, `bounds`, `chunks`, `first`, `hashes`, `lengths`, `flags`: the fields of `token_memo.Tokens`, whose shapes are
  there; `begin` and `end` are places in `data`, `low` and `high` numbers of tokens;
- `limits`: float64 [rules], the thresholds in the order of the rule's params, 0 for none;
- `codes`: int64 [documents] and `scores`: float64 [documents], written: the codes, and the figures (NaN for none);
- `keys`: uint64 [slots], a table of hashes (`kernels/tables.py`), cleared before each use.
"""

import numpy as np

from llm_core.corpus.cleaning.kernels_text import (
    break_width,
    finish,
    hash_bytes,
    power,
    strip,
)
from llm_core.corpus.cleaning.splitting import ALPHA, WORD
from llm_core.kernels.arrays import Bytes, Floats, Hashes, Ints, Small
from llm_core.kernels.hashing import MIX
from llm_core.kernels.tables import clear, place
from llm_core.kernels.utf8 import characters
from llm_core.runtime.compilation import njit

QUALITY_REASONS = (
    "gopher_short_doc",
    "gopher_long_doc",
    "gopher_below_avg_threshold",
    "gopher_above_avg_threshold",
    "gopher_too_many_hashes",
    "gopher_too_many_ellipsis",
    "gopher_too_many_bullets",
    "gopher_too_many_end_ellipsis",
    "gopher_below_alpha_threshold",
    "gopher_enough_stop_words",
)
REPETITION_REASONS = ("empty", "dup_para_frac", "dup_para_char_frac", "dup_line_frac", "dup_line_char_frac")
TOP, DUPLICATED = 100, 200  # codes of `top_n_gram` and `duplicated_n_n_grams` are these plus n


@njit()
def judge_quality(
    data: Bytes, bounds: Ints, chunks: Ints, first: Ints, hashes: Hashes, lengths: Small, flags: Bytes,
    limits: Floats, stop_words: Hashes, codes: Ints, scores: Floats,
) -> None:  # fmt: skip
    """Judge documents by `gopher_quality`: `limits` float64 [9], `stop_words` uint64 [at most 63] hashes of tokens."""
    for document in range(len(codes)):
        begin, end = bounds[document], bounds[document + 1]
        low, high = first[chunks[document]], first[chunks[document + 1]]
        codes[document], scores[document] = _quality(
            data, begin, end, low, high, hashes, lengths, flags, limits, stop_words
        )


@njit()
def _quality(
    data: Bytes, begin: int, end: int, low: int, high: int, hashes: Hashes, lengths: Small, flags: Bytes,
    limits: Floats, stop_words: Hashes,
) -> tuple[int, float]:  # fmt: skip
    """(code, figure) of one document, whose tokens are `low` to `high` (not included)."""
    words = high - low
    proper = alphabetic = letters = distinct = 0
    found = np.uint64(0)
    for token in range(low, high):
        flag = flags[token]
        if flag & WORD:
            proper += 1
            letters += lengths[token]
        if flag & ALPHA:
            alphabetic += 1
        if distinct < limits[8]:  # more stop words make no difference
            for number in range(len(stop_words)):
                if hashes[token] == stop_words[number] and not found >> np.uint64(number) & np.uint64(1):
                    found |= np.uint64(1) << np.uint64(number)
                    distinct += 1
    if limits[0] and proper < limits[0]:
        return 1, float(proper)
    if limits[1] and proper > limits[1]:
        return 2, float(proper)
    mean = letters / proper if proper else np.nan
    if limits[2] and mean < limits[2]:
        return 3, mean
    if limits[3] and mean > limits[3]:
        return 4, mean
    number_signs, ellipses, lines, bullets, trailing = _count(data, begin, end)
    if limits[4] and words and number_signs / words > limits[4]:
        return 5, number_signs / words
    if limits[4] and words and ellipses / words > limits[4]:
        return 6, ellipses / words
    if limits[5] and lines and bullets / lines > limits[5]:
        return 7, bullets / lines
    if limits[6] and lines and trailing / lines > limits[6]:
        return 8, trailing / lines
    if limits[7] and words and alphabetic / words < limits[7]:
        return 9, alphabetic / words
    if limits[8] and distinct < limits[8]:
        return 10, float(distinct)
    return 0, np.nan


@njit()
def _count(data: Bytes, begin: int, end: int) -> tuple[int, int, int, int, int]:
    """(number signs, ellipses, lines, lines that begin with a bullet or hyphen, lines that end in an ellipsis).

    Ellipses are `...` without overlap, and the one character.
    """
    number_signs = ellipses = lines = bullets = trailing = 0
    start = position = begin
    while position < end:
        byte = data[position]
        if 0x2E < byte < 0xC2:  # the common case
            position += 1
            continue
        if byte == 0x23:
            number_signs += 1
        elif byte == 0x2E and position + 2 < end:
            if data[position + 1] == 0x2E and data[position + 2] == 0x2E:
                ellipses += 1
                position += 2
        elif byte == 0xE2 and data[position + 1] == 0x80 and data[position + 2] == 0xA6:
            ellipses += 1
            position += 2
        width = break_width(data, position, end)
        if not width:
            position += 1
            continue
        bullet, ellipsis = _line(data, start, position)
        lines, bullets, trailing = lines + 1, bullets + bullet, trailing + ellipsis
        position += width
        start = position
    if start < end:
        bullet, ellipsis = _line(data, start, end)
        lines, bullets, trailing = lines + 1, bullets + bullet, trailing + ellipsis
    return number_signs, ellipses, lines, bullets, trailing


@njit()
def _line(data: Bytes, begin: int, end: int) -> tuple[bool, bool]:
    """Whether a line begins with a bullet or hyphen, and whether it ends in an ellipsis, apart from whitespace around
    it."""
    left, right = strip(data, begin, end)
    if left == right:
        return False, False
    bullet = data[left] == 0x2D or (data[left] == 0xE2 and data[left + 1] == 0x80 and data[left + 2] == 0xA2)
    if right - left < 3:
        return bullet, False
    one, two, three = data[right - 3], data[right - 2], data[right - 1]
    return bullet, (one == 0x2E and two == 0x2E and three == 0x2E) or (one == 0xE2 and two == 0x80 and three == 0xA6)


@njit()
def judge_repetition(
    data: Bytes, bounds: Ints, chunks: Ints, first: Ints, hashes: Hashes, lengths: Small,
    limits: Floats, top: Floats, duplicated: Floats, codes: Ints, scores: Floats,
) -> None:  # fmt: skip
    """Judge documents by `gopher_repetition`: `limits` float64 [4].

    `top` and `duplicated` are float64 [n-gram sizes, 2]: the number of words in an n-gram, and its threshold.
    """
    longest = 0
    for document in range(len(codes)):
        longest = max(longest, bounds[document + 1] - bounds[document])
    size = 16
    while size < 2 * (longest + 2):
        size *= 2
    keys = np.zeros(size, np.uint64)
    counts, firsts = np.zeros(size, np.int32), np.zeros(size, np.int32)
    seen, ngrams = np.empty(4 * size, np.uint8), np.empty(longest, np.uint64)
    for document in range(len(codes)):
        codes[document], scores[document] = _repetition(
            data, bounds[document], bounds[document + 1], first[chunks[document]], first[chunks[document + 1]],
            hashes, lengths, limits, top, duplicated, keys, counts, firsts, seen, ngrams,
        )  # fmt: skip


@njit()
def _repetition(
    data: Bytes, begin: int, end: int, low: int, high: int, hashes: Hashes, lengths: Small,
    limits: Floats, top: Floats, duplicated: Floats, keys: Hashes, counts: Small, firsts: Small,
    seen: Bytes, ngrams: Hashes,
) -> tuple[int, float]:  # fmt: skip
    """(code, figure) of one document.

    Scratch memory: `counts` and `firsts` int32 [slots], for `_top_ngram`; `seen` uint8 [4 * slots] and `ngrams` uint64
    [bytes of the longest document], for `_sift`.
    """
    if begin == end:
        return 1, 0.0
    size = characters(data, begin, end)
    left, right = strip(data, begin, end)
    parts, repeated, repeated_characters = _repeated_parts(data, left, right, 2, keys)
    if limits[1] and repeated / parts > limits[1]:
        return 2, repeated / parts
    if limits[3] and repeated_characters / size > limits[3]:
        return 3, repeated_characters / size
    parts, repeated, repeated_characters = _repeated_parts(data, begin, end, 1, keys)
    if limits[0] and repeated / parts > limits[0]:
        return 4, repeated / parts
    if limits[2] and repeated_characters / size > limits[2]:
        return 5, repeated_characters / size
    words = high - low
    for row in range(len(top)):
        n = int(top[row, 0])
        if words >= n:
            share = _top_ngram(low, high, n, hashes, lengths, keys, counts, firsts, seen, ngrams) / size
            if share > top[row, 1]:
                return TOP + n, share
    if len(duplicated) == 0:
        return 0, np.nan
    joined = np.empty(words + 1, np.uint64)  # hash of the first i tokens' characters
    length = np.empty(words + 1, np.int64)
    joined[0] = length[0] = 0
    for token in range(words):
        joined[token + 1] = joined[token] * power(lengths[low + token]) + hashes[low + token]
        length[token + 1] = length[token] + lengths[low + token]
    for row in range(len(duplicated)):
        n = int(duplicated[row, 0])
        share = _repeated_ngrams(words, n, joined, length, keys, seen, ngrams) / size
        if share > duplicated[row, 1]:
            return DUPLICATED + n, share
    return 0, np.nan


@njit()
def _repeated_parts(data: Bytes, begin: int, end: int, breaks: int, keys: Hashes) -> tuple[int, int, int]:
    """(parts, parts seen before, their code points) of a text cut at `breaks` or more line feeds."""
    mask = clear(keys, 2 + (end - begin) // 2)
    parts = repeated = repeated_characters = 0
    start = position = begin
    while True:
        stop, run = position, 0
        while position < end:
            if data[position] == 10:
                stop, run = position, 0
                while position < end and data[position] == 10:
                    run += 1
                    position += 1
                if run >= breaks:
                    break
                run = 0
            else:
                position += 1
        if run < breaks:
            stop = end
        parts += 1
        key = hash_bytes(data, start, stop)
        slot = place(keys, mask, key)
        if keys[slot] == 0:
            keys[slot] = key
        else:
            repeated += 1
            repeated_characters += characters(data, start, stop)
        if run < breaks:
            return parts, repeated, repeated_characters
        start = position


@njit()
def _top_ngram(
    low: int,
    high: int,
    n: int,
    hashes: Hashes,
    lengths: Small,
    keys: Hashes,
    counts: Small,
    firsts: Small,
    seen: Bytes,
    ngrams: Hashes,
) -> int:
    """Code points of the most frequent n-gram (the first of several), with its spaces, times its count.

    `counts` and `firsts` receive, for each slot of `keys`, how often an n-gram occurs and where it occurs first.
    """
    total = high - low - n + 1
    for token in range(total):
        key = hashes[low + token]
        for index in range(1, n):
            key = (key ^ (key >> np.uint64(29))) * MIX + hashes[low + token + index]
        ngrams[token] = key
    best, best_first = 1, 0
    shift, most = _sift(ngrams, total, seen)
    mask = clear(keys, most)
    for token in range(total if most else 0):
        if seen[ngrams[token] >> shift] == 1:
            continue
        key = finish(ngrams[token])
        slot = place(keys, mask, key)
        if keys[slot] == 0:
            keys[slot] = key
            counts[slot] = 1
            firsts[slot] = token
            continue
        counts[slot] += 1
        if counts[slot] > best or (counts[slot] == best and firsts[slot] < best_first):
            best, best_first = counts[slot], firsts[slot]
    size = n - 1
    for index in range(n):
        size += lengths[low + best_first + index]
    return size * best


@njit()
def _repeated_ngrams(
    words: int, n: int, joined: Hashes, length: Ints, keys: Hashes, seen: Bytes, ngrams: Hashes
) -> int:
    """Code points in n-grams (as joined characters) that have occurred before, counted without overlap.

    `joined`: uint64 [words + 1], the hash of the first i words' characters; `length`: int64 [words + 1], their number.
    """
    total = words - n + 1
    for token in range(total):
        ngrams[token] = joined[token + n] - joined[token] * power(length[token + n] - length[token])
    shift, most = _sift(ngrams, total, seen)
    if not most:
        return 0
    mask = clear(keys, most)
    repeated = after = 0
    for token in range(total):
        if token < after or seen[ngrams[token] >> shift] == 1:
            continue
        key = finish(ngrams[token])
        slot = place(keys, mask, key)
        if keys[slot] == 0:
            keys[slot] = key
        else:
            repeated += length[token + n] - length[token]
            after = token + n
    return repeated


@njit()
def _sift(ngrams: Hashes, total: int, seen: Bytes) -> tuple[np.uint64, int]:
    """(shift, most): an n-gram with `seen[hash >> shift] == 1` occurs once; at most `most` occur more often.

    The first `total` of `ngrams` (uint64) are n-grams; `seen` (uint8) is written: 0, 1, or 2 for twice and more. Most
    n-grams of a text occur once, and a table of bytes finds these without branches, faster than a table of keys.
    """
    size, shift = 16, np.uint64(60)
    while size < 4 * total:
        size *= 2
        shift -= np.uint64(1)
    seen[:size] = 0
    taken = 0
    for number in range(total):
        slot = ngrams[number] >> shift
        before = seen[slot] != 0
        taken += before
        seen[slot] = 1 + before
    return shift, min(2 * taken, total)
