"""Choices of a question and the right one of them, as people write them: for benchmarks and for finetuning alike.

An answer may be a choice's text, a letter or a position. Where choices are themselves numbers or letters one row can be
read in several ways, so one reading holds for a whole data set: the one by which most rows have an answer.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
READINGS = ("a choice's text", "a letter", "a position from 0")
"""what an answer may be; of readings by which as many rows have an answer, the first is taken"""
Readings = dict[str, int]


def choice_text(value: Any, what: str = "choice") -> str:
    """A text or a number as a text without blanks around it. Raises ValueError for anything else, and an empty one."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"the {what} is no text but {json.dumps(value, default=str)[:80]}")
    text = str(value).strip()
    if not text:
        raise ValueError(f"the {what} is empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the {what} holds half of a surrogate pair, which is no character") from None
    return text


def choice_texts(value: Any) -> list[str]:
    """The choices in a list, or in a list written as JSON (in a table); empty cells at its end are no choices.

    Raises ValueError where there are fewer than two, or one is empty or there twice.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, list):
        raise ValueError("the choices are no list")
    filled = [number for number, one in enumerate(value, 1) if one not in ("", None)]
    texts = [choice_text(one) for one in value[: max(filled, default=0)]]
    if len(texts) < 2:
        raise ValueError(f"{len(texts)} choice(s); two or more are needed")
    if twice := [text for text, count in Counter(texts).items() if count > 1]:
        raise ValueError(f"the choice {twice[0]!r:.60} is there twice")
    return texts


def readings(answer: Any, choices: Sequence[str]) -> Readings:
    """reading -> position of the right choice, of each reading by which `answer` is one of the choices.

    >>> readings("1", ["2", "1", "0"]), readings("B", ["sky", "rose"])
    ({"a choice's text": 1, 'a position from 0': 1}, {'a letter': 1})
    """
    text = "" if isinstance(answer, bool) else str(answer).strip()
    letter = LETTERS.find(text.upper()) if len(text) == 1 else -1
    found = {
        "a choice's text": choices.index(text) if text in choices else -1,
        "a letter": letter,
        "a position from 0": int(text) if text.isascii() and text.isdigit() else -1,
    }
    return {name: position for name, position in found.items() if 0 <= position < len(choices)}


def common_reading(rows: Sequence[Readings]) -> str:
    """The reading by which most rows have an answer."""
    return max(READINGS, key=lambda name: sum(name in row for row in rows))
