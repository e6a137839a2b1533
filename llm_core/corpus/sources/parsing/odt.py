"""ODT: the paragraphs, headings, lists, tables and notes of `content.xml`, by the OpenDocument standard (ISO 26300).

Read with lxml alone, at twice odfpy's pace (benchmarks/documents.py). Deleted text of tracked changes and
comments are left out; a note follows the paragraph that refers to it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.corpus.sources.parsing.kinds import Limits, NotParsedError, Parsed
from llm_core.corpus.sources.parsing.sections import Block, by_heading
from llm_core.corpus.sources.parsing.zipped import open_zip, read_xml

NAMESPACES = {
    "text": "urn:oasis:names:tc:opendocument:xmlns:text:1.0",
    "table": "urn:oasis:names:tc:opendocument:xmlns:table:1.0",
    "office": "urn:oasis:names:tc:opendocument:xmlns:office:1.0",
    "manifest": "urn:oasis:names:tc:opendocument:xmlns:manifest:1.0",
    "dc": "http://purl.org/dc/elements/1.1/",
}


def _name(prefix: str, local: str) -> str:
    return f"{{{NAMESPACES[prefix]}}}{local}"


HEADING, PARAGRAPH = _name("text", "h"), _name("text", "p")
ITEM = _name("text", "list-item")
ROW, CELL = _name("table", "table-row"), _name("table", "table-cell")
NOTE, NOTE_BODY = _name("text", "note"), _name("text", "note-body")
SPACES, TAB, LINE_BREAK = _name("text", "s"), _name("text", "tab"), _name("text", "line-break")
LEFT_OUT = {_name("text", "tracked-changes"), _name("office", "annotation"), _name("office", "forms")}
MAX_SPACES = 1000  # maximum spaces that one element encodes


def parse(path: Path, limits: Limits) -> Parsed:
    """Chapters at headings of the first level."""
    with open_zip(path, limits) as archive:
        names = set(archive.namelist())
        if "META-INF/manifest.xml" in names:
            manifest = read_xml(archive, "META-INF/manifest.xml")
            if manifest.find(".//manifest:encryption-data", NAMESPACES) is not None:
                raise NotParsedError("quarantine_encrypted", "needs a password")
        body = read_xml(archive, "content.xml").find("office:body/office:text", NAMESPACES)
        if body is None:
            raise NotParsedError("quarantine_wrong_kind", "an OpenDocument file that is no text document")
        title = read_xml(archive, "meta.xml").findtext(".//dc:title", "", NAMESPACES) if "meta.xml" in names else ""
    sections = by_heading(_blocks(body))
    return Parsed(sections, " ".join(title.split()) or None, len(sections))


def _blocks(parent: Any, item: bool = False) -> Iterator[Block]:
    """Each paragraph, item of a list and table row below `parent`."""
    for element in parent:
        if element.tag in (HEADING, PARAGRAPH):
            notes: list[Any] = []
            text = "".join(_inline(element, notes)).strip()
            level = element.get(_name("text", "outline-level"), "1")
            if text:
                yield Block(f"- {text}" if item else text, element.tag == HEADING and level == "1", item)
            for note in notes:
                yield from _blocks(note)
        elif element.tag == ROW:
            cells = (" ".join(block.text for block in _blocks(cell)) for cell in element.iterchildren(CELL))
            if line := "\t".join(cells).strip():
                yield Block(line, line=True)
        elif element.tag not in LEFT_OUT and isinstance(element.tag, str):
            yield from _blocks(element, element.tag == ITEM)


def _inline(element: Any, notes: list[Any]) -> Iterator[str]:
    """The text of a paragraph; bodies of its notes are put into `notes`."""
    yield element.text or ""
    for child in element:
        if child.tag == NOTE:
            notes.extend(child.iterchildren(NOTE_BODY))
        elif child.tag == SPACES:
            count = child.get(_name("text", "c"), "1")
            yield " " * (min(int(count), MAX_SPACES) if count.isdecimal() else 1)
        elif child.tag in (TAB, LINE_BREAK):
            yield "\t" if child.tag == TAB else "\n"
        elif child.tag in (HEADING, PARAGRAPH):  # of a text box
            yield "\n"
            yield from _inline(child, notes)
            yield "\n"
        elif child.tag not in LEFT_OUT and isinstance(child.tag, str):
            yield from _inline(child, notes)
        yield child.tail or ""
