"""Counting sentences as spaCy's rule-based sentencizer does, on token flags.

`data`, `starts`, `ends`, `chunks`, `first` and `flags` are the fields of `token_memo.Tokens`, whose shapes are there.
"""

from llm_core.corpus.cleaning.splitting import PUNCT, SENTENCE_END
from llm_core.kernels.arrays import Bytes, Ints
from llm_core.runtime.compilation import njit


@njit()
def count_sentences(
    data: Bytes, starts: Ints, ends: Ints, from_chunk: int, to_chunk: int, first: Ints, flags: Bytes
) -> int:
    """Sentences of one stripped line by spaCy's sentencizer: a mark, perhaps more punctuation, then anything else.

    The line's chunks are `from_chunk` to `to_chunk` (not included).
    A run of whitespace other than one space is a token of its own to spaCy, and may begin a sentence.
    """
    sentences = 1
    ended = False
    for chunk in range(from_chunk, to_chunk):
        if chunk > from_chunk:
            gap = ends[chunk - 1]
            if ended and not (starts[chunk] - gap == 1 and data[gap] == 32):
                sentences += 1
                ended = False
        for token in range(first[chunk], first[chunk + 1]):
            flag = flags[token]
            if flag & SENTENCE_END:
                ended = True
            elif ended and not flag & PUNCT:
                sentences += 1
                ended = False
    return sentences


@njit()
def sum_sentences(data: Bytes, bounds: Ints, starts: Ints, ends: Ints, chunks: Ints, first: Ints, flags: Bytes) -> int:
    """Sentences of lines, each by itself, which may have whitespace at their ends; at least one each.

    `bounds`: int64 [lines + 1], where each line begins in `data`, and the last ends.
    """
    total = 0
    for line in range(len(bounds) - 1):
        low, high = chunks[line], chunks[line + 1]
        if low == high:
            total += 1
            continue
        total += count_sentences(data, starts, ends, low, high, first, flags)
        total += _outer(data, bounds[line], bounds[line + 1], low, high, starts, ends, first, flags)
    return total


@njit()
def _outer(
    data: Bytes, begin: int, end: int, low: int, high: int, starts: Ints, ends: Ints, first: Ints, flags: Bytes
) -> int:
    """1 where whitespace after the last mark is a token that begins a sentence (removed citations leave it), else 0."""
    ended = False
    for token in range(first[low], first[high]):
        flag = flags[token]
        if flag & SENTENCE_END:
            ended = True
        elif ended and not flag & PUNCT:
            ended = False
    rest = end - ends[high - 1]
    if not ended or rest == 0:
        return 0
    return 0 if rest == 1 and data[ends[high - 1]] == 32 else 1
