"""Blocks to chapters, and pieces of HTML to text."""

import re
from collections.abc import Iterable
from typing import NamedTuple

from llm_core.corpus.sources.parsing.kinds import Section

BETWEEN_CELLS = re.compile(r" *\t[\t ]*")


class Block(NamedTuple):
    """A paragraph, or one line of a list or table."""

    text: str
    chapter: bool = False  # whether it begins one
    line: bool = False  # whether it belongs to the line before it


def by_heading(blocks: Iterable[Block]) -> list[Section]:
    """The chapters of a document; what comes before the first heading is one, too."""
    chapters: list[list[str]] = [[]]
    titles: list[str | None] = [None]
    line = False
    for block in blocks:
        if block.chapter:
            chapters.append([])
            titles.append(" ".join(block.text.split()))
        between = "\n" if block.line and line else "\n\n"
        chapters[-1].append(f"{between if chapters[-1] else ''}{block.text}")
        line = block.line
    pairs = [(title, chapter) for title, chapter in zip(titles, chapters, strict=True) if chapter]
    return [Section("".join(chapter), title, number) for number, (title, chapter) in enumerate(pairs, start=1)]


def html_text(page: str) -> str:
    """All visible text of a page or piece of HTML, with lists and tables as lines."""
    from resiliparse.extract.html2text import extract_plain_text

    text = extract_plain_text(page, main_content=False, alt_texts=False, form_fields=False, noscript=False)
    return BETWEEN_CELLS.sub("\t", text).strip()
