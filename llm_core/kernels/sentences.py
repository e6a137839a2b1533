"""Where a text is divided into lines and sentences: the rule that evidence, pairs for encoders and baselines share.

A full stop ends a sentence only before a capital, a digit or a letter without case, because of abbreviations. The stops
of Devanagari, Arabic, Urdu and Ethiopic end one wherever a space follows. Chinese, Japanese, Khmer and Burmese put no
space behind theirs; there up to three closing quotes and brackets behind the stop belong to it. A straight quote closes
where it is the second, fourth, ... of its line.
"""

import re
from functools import cache
from typing import Any

SPACED = "।॥؟۔።"
UNSPACED = "。｡！？។။"
STRAIGHT = "\udc22"  # takes the place of a closing " while a text is divided; no text that can be stored holds it
CLOSING = f"」』”’》〉）】{STRAIGHT}"
CLOSED = f"[{CLOSING}]{{0,3}}"  # bounded, because it is looked for behind every letter


def sentences(text: str) -> list[str]:
    """The lines and sentences of a text, without blanks around them.

    >>> sentences("It was no. 7 of the U.S. fleet; it sank.\\nNobody came! 他说：“走吧。”她走了。")
    ['It was no.', '7 of the U.S. fleet; it sank.', 'Nobody came!', '他说：“走吧。”', '她走了。']
    """
    quoted = re.sub(r'"([^"\n]*)"', rf'"\1{STRAIGHT}', text)
    parts = (part.strip() for part in _break().split(quoted))
    return [part.replace(STRAIGHT, '"') for part in parts if part]


@cache
def _break() -> Any:
    import regex

    return regex.compile(
        rf"\n+|(?<=[.!?;])\s++(?=[\p{{Lu}}\p{{Lt}}\p{{Lo}}\p{{N}}])|(?<=[{SPACED}]{CLOSED})\s+"
        rf"|(?<=[{UNSPACED}]{CLOSED})(?![{CLOSING}{UNSPACED}])",
        regex.VERSION1,
    )
