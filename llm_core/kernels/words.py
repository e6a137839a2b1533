"""What a word is: the one definition that deduplication, search, passages, decontamination, splits and scores share.

In scripts that put spaces between words, a word is a longest run of letters, digits and combining marks. The vowel
signs of Devanagari, Bengali or Tamil and the points of Arabic and Hebrew are marks, so two texts that differ in them
have different words. Apostrophes, hyphens and underscores separate words.

Han, kana, Yi, Tangut, Nushu and the scripts of Unicode's line-breaking class SA (Thai, Lao, Khmer, Myanmar, Tai Tham
and others) are written without spaces. There each letter with the marks behind it is a word, which is what Unicode's
word boundaries (UAX #29) come to without a dictionary. A dictionary (ICU, pythainlp) finds longer words, but its
result changes from version to version and it is far slower; n-grams of letters serve deduplication, search and ROUGE.

Words are compared in `normal_form` (NFKC, without case) and without the invisible characters that only guide layout:
zero-width joiners, soft hyphens, marks of direction, variation selectors. The zero-width space U+200B counts as a
space, because Khmer, Thai and Myanmar separate words with it.

The classes of characters are those of the package `regex`, which knows Unicode's properties.
"""

import re
import unicodedata
from functools import cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

OTHER, ALONE, LETTER, MARK, INVISIBLE = range(5)
"""Class of a character: in no word; a word of its own; in a word with its neighbours; a mark on what precedes it;
ignored inside a word, and in no word elsewhere."""
UNSPACED = r"\p{Script=Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Yi}\p{Tangut}\p{Nushu}\p{Line_Break=SA}ー"
EXPRESSIONS = {LETTER: r"[\p{L}\p{N}]", ALONE: rf"[[\p{{L}}\p{{N}}]&&[{UNSPACED}]]", MARK: r"\p{M}"}
EXPRESSIONS |= {INVISIBLE: r"[[\p{Default_Ignorable_Code_Point}\p{Cf}]--\u200B]"}
ASCII_WORD = re.compile(r"[A-Za-z0-9]+")
ASCII_TOKEN = re.compile(r"[A-Za-z0-9]+|[^\sA-Za-z0-9]")
ASCII_PIECE = re.compile(r"\S+")


def normal_form(text: str) -> str:
    """The form in which words are compared: NFKC and casefolded."""
    if text.isascii():
        return text.lower()
    return normalize("NFKC", normalize("NFKC", text).casefold())


def normalize(form: Literal["NFC", "NFD", "NFKC", "NFKD"], text: str) -> str:
    """`unicodedata.normalize` in linear time.

    Python sorts a run of combining marks in quadratic time (100,000 marks take a minute). No language has more than
    a few marks on a letter; a run of more than 30, the bound of Unicode's stream-safe format (UAX #15), is
    normalised in pieces of 30.
    """
    if text.isascii():
        return text
    many = _many_marks()
    if not many.search(text):
        return unicodedata.normalize(form, text)
    cuts = [0, *(match.end() for match in many.finditer(text)), len(text)]
    return "".join(unicodedata.normalize(form, text[first:last]) for first, last in pairwise(cuts))


def words(text: str) -> list[str]:
    """The words of a text in `normal_form` and without invisible characters, in order.

    >>> words("The U.S. dollar's rate")
    ['the', 'u', 's', 'dollar', 's', 'rate']
    >>> words("दिन 河流")
    ['दिन', '河', '流']
    """
    if text.isascii():
        return ASCII_WORD.findall(text.lower())
    return [_invisible().sub("", word) for word in _word().findall(normal_form(text))]


def tokens(text: str) -> list[str]:
    """The words of a text as they are written, and every other visible character by itself, in order.

    >>> tokens("Rivers, hills!")
    ['Rivers', ',', 'hills', '!']
    """
    return (ASCII_TOKEN if text.isascii() else _token()).findall(text)


def token_spans(text: str) -> list[tuple[int, int]]:
    """Where the `tokens` of a text are: (first character, one past the last)."""
    pattern = ASCII_TOKEN if text.isascii() else _token()
    return [match.span() for match in pattern.finditer(text)]


def pieces(text: str) -> list[tuple[int, int]]:
    """Where a text may be cut between words, punctuation included: (first character, one past the last).

    A piece is a run without spaces; in scripts written without spaces, a word with the punctuation behind it.
    """
    pattern = ASCII_PIECE if text.isascii() else _piece()
    return [match.span() for match in pattern.finditer(text)]


def alone(word: str) -> bool:
    """Whether a word is of a script written without spaces, where a single letter carries meaning."""
    return word > "\u02ff" and character_classes()[ord(word[0])] == ALONE


@cache
def character_classes() -> npt.NDArray[np.uint8]:
    """OTHER, ALONE, LETTER, MARK or INVISIBLE for every code point: uint8 [0x110000]."""
    codes = np.concatenate([np.arange(0xD800), np.arange(0xE000, 0x110000)]).astype("<u4")
    text = codes.tobytes().decode("utf-32-le")
    classes = np.zeros(0x110000, np.uint8)
    for number, expression in EXPRESSIONS.items():  # later ones are exceptions from earlier ones
        for found in _compiled(f"{expression}+").finditer(text):
            classes[codes[found.start() : found.end()]] = number
    return classes


@cache
def mark_ranges() -> str:
    """All combining marks as ranges for a character class of `re`, which knows no Unicode properties."""
    marks = np.flatnonzero(character_classes() == MARK)
    edges = np.flatnonzero(np.diff(marks, prepend=-2, append=-1) != 1)
    pairs = ((int(marks[first]), int(marks[last - 1])) for first, last in pairwise(edges.tolist()))
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in pairs)


def _compiled(expression: str) -> Any:
    import regex

    return regex.compile(expression, regex.VERSION1)


@cache
def _word() -> Any:
    alone, hidden = EXPRESSIONS[ALONE], EXPRESSIONS[INVISIBLE]
    run = rf"[[\p{{L}}\p{{N}}\p{{M}}]--{alone}--{hidden}]"
    return _compiled(rf"[{alone}--{hidden}][\p{{M}}{hidden}]*+|{run}[{run}{hidden}]*+")


@cache
def _token() -> Any:
    return _compiled(rf"{_word().pattern}|[^\s\u200B{EXPRESSIONS[INVISIBLE]}]")


@cache
def _piece() -> Any:
    return _compiled(rf"[^\s\u200B][^\s\u200B{EXPRESSIONS[ALONE]}]*+")


@cache
def _many_marks() -> Any:
    return _compiled(r"\p{M}{30}(?=\p{M})")


@cache
def _invisible() -> Any:
    return _compiled(f"{EXPRESSIONS[INVISIBLE]}+")
