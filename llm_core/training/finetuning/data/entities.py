"""Named entities in rows: tags of words in the schemes of the field, or spans of characters, as one kind of row.

A prepared row has `text`, `words` ([first character, one past the last] of each word) and `tags`, one for each word in
IOB2: `B-X` begins an entity of the type X, `I-X` continues it, `O` is in none.

Tags are read in IOB1 (CoNLL 2003 as published), IOB2 and IOBES (also BILOU and BMES). One rule reads all of them, that
of the CoNLL evaluation script: an entity begins at B, S and U, and at any other tag that does not continue an entity of
its type; it ends behind E, L, S and U, and before every beginning. A sequence that is invalid in its scheme is repaired
by that rule. The scheme of a data set is the one that forbids the fewest of its tags, and these are counted.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from llm_core.kernels.words import token_spans
from llm_core.training.finetuning.method import Row, text

SCHEMES = ("iob2", "iobes", "iob1")
PREFIXES = dict(zip("BIESLUM", "BIESESI", strict=True))
"""Letter before the hyphen of a tag -> its letter in IOBES."""
Entity = tuple[str, int, int]
"""Type, first word, last word."""


def from_words(tokens: Any, tags: Any) -> Row:
    """A row of `tokens` with their `tags`; its text is the tokens with single spaces between them.

    Raises ValueError where they are no lists of texts of one length, or a tag is in no scheme.
    """
    for name, values in (("tokens", tokens), ("tags", tags)):
        if not isinstance(values, list) or not values:
            raise ValueError(f"field '{name}' is missing, empty or no list")
    if len(tokens) != len(tags):
        raise ValueError(f"{len(tokens)} tokens and {len(tags)} tags; each token needs one tag")
    found = [" ".join(text(token, "tokens").split()) for token in tokens]
    read = [_tag(tag) for tag in tags]
    ends, words = 0, []
    for token in found:
        words.append([ends, ends + len(token)])
        ends += len(token) + 1
    iob2 = to_iob2(len(read), entities(read))
    return {"text": " ".join(found), "words": words, "tags": iob2, "misplaced": misplaced(read)}


def from_spans(whole: str, spans: Any) -> Row:
    """A row of a text with `spans`: objects with `start`, `end` (one past the last character) and `label`, or lists.

    Raises ValueError where a span is outside the text, blank, inside a word, or overlaps with another.
    """
    if not isinstance(spans, list):
        raise ValueError("field 'entities' is no list")
    words = token_spans(whole)
    starts, stops = ({span[side]: at for at, span in enumerate(words)} for side in (0, 1))
    found: list[Entity] = []
    for span in spans:
        start, end, label = _span(span, len(whole))
        while start < end and whole[start].isspace():
            start += 1
        while start < end and whole[end - 1].isspace():
            end -= 1
        if start == end:
            raise ValueError(f"entity {span!r:.60} is blank")
        if start not in starts or end not in stops:
            raise ValueError(f"entity '{whole[start:end]}' ({start} to {end}) begins or ends inside a word")
        found.append((label, starts[start], stops[end]))
    found.sort(key=lambda entity: entity[1])
    for one, other in pairwise(found):
        if other[1] <= one[2]:
            raise ValueError("two entities overlap; a word can be in one entity alone")
    return {"text": whole, "words": [list(word) for word in words], "tags": to_iob2(len(words), found)}


def _span(span: Any, length: int) -> tuple[int, int, str]:
    """(start, end, label) of a span. Raises ValueError where it is none within a text of `length` characters."""
    if isinstance(span, dict):
        span = [span.get("start"), span.get("end"), span.get("label", span.get("type"))]
    if not isinstance(span, list | tuple) or len(span) != 3:
        raise ValueError(f"entity {span!r:.60} has no start, end and label")
    start, end, label = span
    if isinstance(start, bool) or isinstance(end, bool) or not isinstance(start, int) or not isinstance(end, int):
        raise ValueError(f"entity {span!r:.60}: start and end are not whole numbers")
    if not 0 <= start < end <= length:
        raise ValueError(f"entity {span!r:.60} is not within the text's {length} characters")
    return start, end, " ".join(text(label, "label").split())


def _tag(tag: Any) -> str:
    """A tag with its letter in IOBES. Raises ValueError where it is in no scheme."""
    if isinstance(tag, str):
        letter, hyphen, label = tag.strip().partition("-")
        if tag.strip() == "O":
            return "O"
        if letter in PREFIXES and hyphen and label:
            return f"{PREFIXES[letter]}-{label}"
    raise ValueError(f"tag {tag!r:.40} is neither O nor a letter of {', '.join(PREFIXES)} with a hyphen and a type")


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of a sequence of tags in IOB or IOBES, by the rule of the CoNLL evaluation script.

    The same as `get_entities` of seqeval, whose release (1.2.2, a source package of 2020) no longer installs.

    >>> entities(["I-PLACE", "I-PLACE", "B-PLACE", "O"])
    [('PLACE', 0, 1), ('PLACE', 2, 2)]
    """
    found: list[Entity] = []
    first, opened, before = -1, "", "O"
    for at, tag in enumerate([*tags, "O"]):
        letter, _, label = tag.partition("-")
        continues = first >= 0 and letter in ("I", "E") and label == opened and before not in ("E", "S")
        if not continues:
            if first >= 0:
                found.append((opened, first, at - 1))
            first, opened = (at, label) if letter != "O" else (-1, "")
        before = letter
    return found


def to_iob2(length: int, found: Iterable[Entity]) -> list[str]:
    """Tags in IOB2 of `length` words with these entities."""
    tags = ["O"] * length
    for label, first, last in found:
        tags[first : last + 1] = [f"B-{label}"] + [f"I-{label}"] * (last - first)
    return tags


def misplaced(tags: Sequence[str]) -> dict[str, int]:
    """Scheme -> number of tags that it forbids at their place.

    >>> misplaced(["O", "I-PLACE", "O"])
    {'iob2': 1, 'iobes': 2, 'iob1': 0}
    """
    counts = dict.fromkeys(SCHEMES, 0)
    for before, tag in pairwise(["O", *tags, "O"]):
        letter, _, label = tag.partition("-")
        before_letter, _, before_label = before.partition("-")
        same = label == before_label
        opened = before_letter in ("B", "I")
        if letter in ("E", "S"):
            counts["iob1"] += 1
            counts["iob2"] += 1
        elif letter == "B":
            counts["iob1"] += not (opened and same)
        elif letter == "I":
            counts["iob2"] += not (opened and same)
        counts["iobes"] += not (opened and same) if letter in ("I", "E") else opened
    return counts


def settle_scheme(split: dict[str, list[Row]]) -> dict[str, Any]:
    """The scheme of the tags as they were read and the number that was repaired; takes `misplaced` out of the rows."""
    total: Counter[str] = Counter()
    tagged = 0
    for rows in split.values():
        for row in rows:
            if (counts := row.pop("misplaced", None)) is not None:
                tagged += 1
                total.update(counts)
    if not tagged:
        return {}
    scheme = min(SCHEMES, key=lambda name: total[name])
    return {"tag_scheme": scheme, "repaired_tags": total[scheme]}
