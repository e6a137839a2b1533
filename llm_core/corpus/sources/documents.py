"""PDF, office files and e-books as documents: one for each file, page or chapter, with title and number in metadata."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.corpus.sources.base import Document, Record, Rejected, broken_file
from llm_core.corpus.sources.parsing.client import Parser
from llm_core.corpus.sources.parsing.kinds import KINDS, Parsed, Unit
from llm_core.corpus.sources.survey import ending_of
from llm_core.errors import UserError

LISTED_PAGES = 20  # numbers of pages that a detail of the ledger names


def read_document(
    parser: Parser, path: Path, name: str, unit: Unit, offset: int, metadata: dict[str, Any], url: str | None = None
) -> Iterator[Record]:
    """The documents of one file; `name` is its key, and its ending says what it is.

    A page without text is no document: the ledger has one row for all such pages of a file.
    """
    kind = ending_of(name)
    try:
        parsed = parser(path, name, kind)
    except (UserError, OSError) as error:
        yield broken_file(error, offset, path.stat().st_size if path.exists() else 0)
        return
    metadata = {**metadata, "content_type": "text/plain", "format": kind[1:], "file": name}
    if not parsed.sections:
        yield Rejected("empty_file", offset, detail=name)
    elif KINDS[kind].unit == unit:
        for section in parsed.sections:
            title = _title(parsed.title, section.title)
            place = {unit: section.number, **({"title": title} if title else {})}
            key = f"{name}#{unit}={section.number}"
            yield Document(key, section.text, url, metadata=metadata | place, offset=offset)
        if unit == "page" and (empty := _without_text(parsed)):
            yield Rejected("quarantine_no_text_layer", offset, detail=f"{name}: {empty}")
    else:
        whole: dict[str, Any] = {"title": parsed.title} if parsed.title else {}
        if KINDS[kind].unit == "page":
            whole |= {"pages": parsed.total, "pages_without_text": parsed.total - len(parsed.sections)}
        text = "\n\n".join(section.text for section in parsed.sections)
        yield Document(name, text, url, metadata=metadata | whole, offset=offset)


def _title(whole: str | None, part: str | None) -> str | None:
    """`Book: Chapter`, or the one of them that there is."""
    return f"{whole}: {part}" if whole and part and whole != part else part or whole


def _without_text(parsed: Parsed) -> str:
    """`pages 2, 5 without text`; empty where there are none."""
    there = {section.number for section in parsed.sections}
    missing = [str(number) for number in range(1, parsed.total + 1) if number not in there]
    if not missing:
        return ""
    more = f" and {len(missing) - LISTED_PAGES} more" if len(missing) > LISTED_PAGES else ""
    return f"without text: {'pages' if len(missing) > 1 else 'page'} {', '.join(missing[:LISTED_PAGES])}{more}"
