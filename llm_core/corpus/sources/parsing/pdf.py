"""PDF by PDFium (Chrome's engine, through pypdfium2): the text layer, page by page. Scanned pages are not read."""

import re
from pathlib import Path
from typing import Any

from llm_core.corpus.sources.parsing.kinds import Limits, NotParsedError, Parsed, Section

# PDFium puts U+FFFE (or U+0002) in place of a hyphen that divides a word at the end of a line.
OUTLINE_LEVELS = 3  # a book's title, its parts, their chapters
DIVIDED = re.compile("[\ufffe\x02](?:\r?\n)?")


def parse(path: Path, limits: Limits) -> Parsed:
    """The pages that have text. Raises NotParsedError: encrypted, or no page has text."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower():
            raise NotParsedError("quarantine_encrypted", "needs a password") from None
        raise
    try:
        sections, broken, size = [], [], 0
        for number in range(len(document)):
            try:
                text = _text(document[number])
            except pypdfium2.PdfiumError:
                broken.append(number + 1)
                continue
            size += len(text.encode("utf-8", "replace"))
            if size > limits.max_document_bytes:
                raise NotParsedError("quarantine_too_large", f"more than {limits.max_document_bytes} bytes of text")
            if text:
                sections.append(Section(text, None, number + 1))
        if broken and not sections:
            raise NotParsedError("quarantine_broken_document", f"{len(broken)} of {len(document)} pages are broken")
        if not sections:
            raise NotParsedError("quarantine_no_text_layer", f"{len(document)} pages without text: scanned?")
        title = " ".join(document.get_metadata_value("Title").split())
        return Parsed(sections, title or None, len(document), tuple(broken), _chapters(document))
    finally:
        document.close()


def _chapters(document: Any) -> tuple[tuple[str, int], ...]:
    """(title, first page) of the entries of the outline's highest level that divides the pages, in their order.

    A level with one entry is the title of the whole. Titles of chapters that begin on one page are put together.
    """
    levels: list[dict[int, list[str]]] = [{} for _ in range(OUTLINE_LEVELS)]
    for bookmark in document.get_toc(max_depth=OUTLINE_LEVELS):
        place = bookmark.get_dest()
        page = place.get_index() if place else None
        if page is not None and 0 <= page < len(document):
            levels[bookmark.level].setdefault(page + 1, []).append(" ".join(bookmark.get_title().split()))
    chosen = next((level for level in levels if len(level) > 1), next(filter(None, levels), {}))
    return tuple((" / ".join(filter(None, titles)), page) for page, titles in sorted(chosen.items()))


def _text(page: Any) -> str:
    try:
        text_page = page.get_textpage()
        try:
            return plain(text_page.get_text_bounded())
        finally:
            text_page.close()
    finally:
        page.close()


def plain(text: str) -> str:
    """PDFium's text with divided words joined and one kind of line end."""
    return DIVIDED.sub("", text).replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").strip()
