"""Labels of classes: whole numbers and texts. Values that are no labels are refused, and so are two spellings of one
class."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from typing import Any

from llm_core.errors import UserError

NOT_A_NUMBER = ("nan", "<na>")  # a missing value, as pandas writes it into text


def label_of(value: Any, name: str = "label") -> str:
    """The class that `value` names: a text without surrounding blanks, or a whole number.

    Raises ValueError for a missing, empty or NaN label, a list, an object, a float and a boolean.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise ValueError(f"field '{name}' is missing or empty")
    if (isinstance(value, float) and value != value) or (
        isinstance(value, str) and value.strip().lower() in NOT_A_NUMBER
    ):
        raise ValueError(f"field '{name}' is not a number (NaN), as a missing value is written; leave the row out")
    if isinstance(value, bool | float) or not isinstance(value, str | int):
        raise ValueError(
            f"field '{name}' is {value!r:.40}, a {type(value).__name__}; a label is a text or a whole number"
        )
    label = str(value).strip()
    try:
        label.encode()
    except UnicodeEncodeError:
        raise ValueError(f"field '{name}' holds half of a surrogate pair, which is no character") from None
    return label


def check_classes(places: Iterable[tuple[str, Any, str]]) -> None:
    """Raise UserError where two classes differ only in case, blanks, composition of letters or the form of a number.

    `places` are (file and line, label as it was read, label).
    """
    spelled: dict[str, dict[str, str]] = {}
    counts: Counter[str] = Counter()
    for place, raw, _ in places:
        shown = repr(raw) if isinstance(raw, str) else f"'{raw}'"
        counts[shown] += 1
        spelled.setdefault(_folded(str(raw)), {}).setdefault(shown, place)
    for forms in spelled.values():
        if len(forms) > 1:
            said = ", ".join(f"{form} ({counts[form]} rows, first in {place})" for form, place in sorted(forms.items()))
            raise UserError(f"labels that differ only in case, blanks or spelling of a number: {said}; write one form")


def _folded(label: str) -> str:
    folded = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
    try:
        number = float(folded)
    except ValueError:
        return folded
    return str(int(number)) if number == number and abs(number) < 1e15 and number == int(number) else folded
