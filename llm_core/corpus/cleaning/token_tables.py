"""What spaCy's English tokenizer and the published rules know of a character, as tables for compiled code.

The tables are read from the installed spaCy's expressions and from Unicode; nothing of spaCy is copied here.
"""

import re
import unicodedata
from functools import cache
from typing import Any

import numpy as np

from llm_core.corpus.cleaning.characters import PUNCTUATION as PUNCTUATION_CHARACTERS
from llm_core.corpus.cleaning.splitting import (
    ALPHA,
    BEFORE_STOP,
    DIGIT,
    KNOWN,
    LOWER,
    PLANE,
    PREFIX,
    PUNCT,
    QUOTE,
    SENTENCE_END,
    SUFFIX,
    UPPER,
    WORD,
)
from llm_core.kernels.arrays import Bytes, Ints

CODE_POINTS = 0x110000
UNKNOWN = 255  # flags of a code point that has not been looked up
CUT = "\u2013\u2014\u2026"  # dashes and the ellipsis: the infixes beyond ASCII that `splitting.py` knows
SURROGATES = range(0xD800, 0xE000)


def character_classes(tokenizer: Any) -> tuple[Bytes, Ints]:
    """Traits of each code point of the first plane by the tokenizer's expressions, uint8 [PLANE] (0: ask spaCy); and
    the units that it takes off numbers, their ASCII characters as digits of base 256, int64 [units].
    """
    from spacy.lang import char_classes as spacys

    plane = "".join(chr(code_point) for code_point in range(PLANE) if code_point not in SURROGATES)
    lower, upper, letters, icons = (
        set(re.findall(f"[{group}]", plane))
        for group in (spacys.ALPHA_LOWER, spacys.ALPHA_UPPER, spacys.ALPHA, spacys.CONCAT_ICONS)
    )
    traits = np.zeros(PLANE, np.uint8)
    for char in plane:
        kind = unicodedata.category(char)
        if char in icons or (char in letters) != (char in lower or char in upper):
            continue
        small, large = char in lower, char in upper
        if "!" <= char <= "~":
            traits[ord(char)] = _tried(tokenizer, char) | LOWER * small | UPPER * large | DIGIT * char.isdigit()
        elif kind[0] in "LM" or kind == "Cf":  # what spaCy takes off is neither a letter nor a mark
            traits[ord(char)] = KNOWN | LOWER * small | UPPER * large | BEFORE_STOP * small
        elif char in CUT or (
            (kind[0] in "PN" or kind in ("Sm", "Sk"))
            and not any(tokenizer.find_infix(f"{one}{char}{one}") for one in "a1")
        ):
            traits[ord(char)] = _tried(tokenizer, char) | LOWER * small | UPPER * large
    traits[0x2E] = KNOWN
    after = {text.replace("\\", "") for text in [*spacys.LIST_UNITS, *spacys.LIST_CURRENCY]}
    units = sorted(int.from_bytes(text.encode(), "big") for text in after if text.isascii())
    return traits, np.array(units, np.int64)


def _tried(tokenizer: Any, char: str) -> int:
    """Traits of a character by what the tokenizer does with it."""
    found = KNOWN
    for trait, holds in (
        (QUOTE, not char.isalpha() and any(match.start() == 1 for match in tokenizer.find_infix(f"a.{char}"))),
        (PREFIX, tokenizer.find_prefix(char + "x") == 1),
        (SUFFIX, tokenizer.find_suffix("x" + char) == 1),
        (BEFORE_STOP, char != "." and tokenizer.find_suffix(char + ".") == 1),
    ):
        found |= trait * holds
    return found


def character_features() -> Bytes:
    """Flags of each code point of the first plane as a token of its own, UNKNOWN for others: uint8 [CODE_POINTS]."""
    features = np.full(CODE_POINTS, UNKNOWN, np.uint8)
    features[:PLANE] = [character_flags(chr(code_point)) for code_point in range(PLANE)]
    return features


def character_flags(char: str) -> int:
    """`flags_of` a token of one character."""
    flags = 0 if char in PUNCTUATION_CHARACTERS else WORD
    if char.isalpha():
        flags |= ALPHA
    if unicodedata.category(char)[0] == "P":
        flags |= PUNCT
    return flags | SENTENCE_END if char in sentence_ends() else flags


def flags_of(token: str) -> int:
    """WORD: not only punctuation; ALPHA: has a letter; PUNCT: only Unicode punctuation; SENTENCE_END: one such mark."""
    flags = PUNCT
    for char in token:
        found = character_flags(char)
        flags = (flags & (found | ~PUNCT)) | found & (WORD | ALPHA)
    return flags | SENTENCE_END if token in sentence_ends() else flags


@cache
def sentence_ends() -> frozenset[str]:
    """The marks after which spaCy's rule-based sentencizer begins a new sentence."""
    from spacy.pipeline.sentencizer import Sentencizer

    return frozenset(Sentencizer.default_punct_chars)
