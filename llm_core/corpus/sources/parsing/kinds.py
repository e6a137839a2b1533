"""Which kinds of document there are, what reads them, and what a parser gives back.

A parser is a module of this package with `parse(path, limits) -> Parsed`. It runs in a worker process
(`parsing.worker`) and may raise anything: whatever it raises becomes a named reason in the ledger.
"""

import importlib.util
from typing import Literal, NamedTuple

EXTRA = "documents"  # the extra of pyproject.toml that brings the libraries
Unit = Literal["file", "page", "chapter"]


class Kind(NamedTuple):
    """How files of one ending are parsed."""

    module: str  # of this package
    unit: Unit  # what its sections are
    needs: tuple[str, ...]  # modules of the extra


KINDS = {
    ".pdf": Kind("pdf", "page", ("pypdfium2",)),
    ".docx": Kind("docx", "chapter", ("lxml",)),
    ".pptx": Kind("pptx", "page", ("pptx",)),
    ".odt": Kind("odt", "chapter", ("lxml",)),
    ".epub": Kind("epub", "chapter", ("lxml",)),
}


class Section(NamedTuple):
    """One page, slide or chapter."""

    text: str
    title: str | None = None
    number: int = 1  # from 1, as the file counts; pages without text count, too


class Parsed(NamedTuple):
    """What is in a file: its sections in reading order, those without text left out."""

    sections: list[Section]
    title: str | None = None  # of the whole document
    total: int = 0  # sections, those without text included
    broken: tuple[int, ...] = ()  # numbers of those that cannot be read
    chapters: tuple[tuple[str, int], ...] = ()  # of a file with pages and an outline: title, first page


class Limits(NamedTuple):
    """Bounds on what one file may ask for."""

    max_document_bytes: int  # of text
    max_inflation: float  # decompressed to compressed bytes


class NotParsedError(Exception):
    """A file that a parser refuses; `reason` is the name that the ledger gives it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason


WIKITEXT_NEEDS = ("mwparserfromhell",)


def installed(needs: tuple[str, ...]) -> bool:
    """Whether the modules that a kind needs are there."""
    return all(importlib.util.find_spec(name) for name in needs)
