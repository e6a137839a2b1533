"""PDF, office files and e-books as documents: one for each file, page or chapter, with title and number in metadata."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from llm_core.corpus.sources.base import KEPT_WHOLE, Document, Record, Rejected, broken_file
from llm_core.corpus.sources.parsing.client import Parser
from llm_core.corpus.sources.parsing.kinds import KINDS, Parsed, Unit
from llm_core.corpus.sources.survey import ending_of
from llm_core.errors import UserError
from llm_core.runtime.storage import is_remote


def read_document(parser: Parser, path: Path, name: str, unit: Unit, metadata: dict[str, Any]) -> Iterator[Record]:
    """The documents of one file; `name` is its key, and its ending says what it is. An offset is a page's number."""
    kind = ending_of(name)
    try:
        parsed = parser(path, name, kind)
    except (UserError, OSError) as error:
        yield replace(broken_file(error, 0, path.stat().st_size if path.exists() else 0), file=name)
        return
    if not parsed.sections:
        yield Rejected("empty_file", 0, file=name)
        return
    metadata = {**metadata, "content_type": "text/plain", "format": kind[1:], "file": name}
    make = _parts if KINDS[kind].unit == unit else _chapters if unit == "chapter" and parsed.chapters else _whole
    url = name if is_remote(name) else None
    for record in make(parsed, name, unit, metadata):
        yield replace(record, file=name) if isinstance(record, Rejected) else replace(record, file=name, url=url)


def _parts(parsed: Parsed, name: str, unit: Unit, metadata: dict[str, Any]) -> Iterator[Record]:
    """A document for each page or chapter; a page without text, or a broken one, is a rejected record."""
    sections = {section.number: section for section in parsed.sections}
    broken = set(parsed.broken)
    for number in range(1, parsed.total + 1):
        if section := sections.get(number):
            title = _title(parsed.title, section.title)
            place = {unit: number, **({"title": title} if title else {})}
            yield Document(f"{name}#{unit}={number}", section.text, metadata=metadata | place, offset=number)
        elif unit == "page":
            yield Rejected("quarantine_broken_page" if number in broken else "quarantine_no_text_layer", number)


def _chapters(parsed: Parsed, name: str, unit: Unit, metadata: dict[str, Any]) -> Iterator[Record]:
    """A document for each chapter of a file with pages: whole pages, from the chapter's first to the next one's.

    Pages before the first chapter are one too. A chapter without text is a rejected record.
    """
    begins = [*([] if parsed.chapters[0][1] == 1 else [("", 1)]), *parsed.chapters]
    ends = [page - 1 for _, page in begins[1:]] + [parsed.total]
    for number, ((title, first), last) in enumerate(zip(begins, ends, strict=True), start=1):
        pages = [section for section in parsed.sections if first <= section.number <= last]
        if not pages:
            yield Rejected("quarantine_no_text_layer", number)
            continue
        place: dict[str, Any] = {"chapter": number, "page": first, "last_page": last}
        if whole := _title(parsed.title, title or None):
            place["title"] = whole
        text = "\n\n".join(section.text for section in pages)
        yield Document(f"{name}#{unit}={number}", text, metadata=metadata | place, offset=number)


def _whole(parsed: Parsed, name: str, unit: Unit, metadata: dict[str, Any]) -> Iterator[Record]:
    """One document, with a note where it was to be divided and cannot be."""
    place: dict[str, Any] = {"title": parsed.title} if parsed.title else {}
    if KINDS[ending_of(name)].unit == "page":
        without = parsed.total - len(parsed.sections) - len(parsed.broken)
        place |= {"pages": parsed.total, "pages_without_text": without, "pages_broken": len(parsed.broken)}
    text = "\n\n".join(section.text for section in parsed.sections)
    yield Document(name, text, metadata=metadata | place, note=KEPT_WHOLE.get(unit))


def _title(whole: str | None, part: str | None) -> str | None:
    """`Book: Chapter`, or the one of them that there is."""
    return f"{whole}: {part}" if whole and part and whole != part else part or whole
