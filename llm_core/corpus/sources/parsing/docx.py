"""DOCX: headings, paragraphs, lists, tables, text boxes, foot- and endnotes of the main part (ISO 29500).

Read with lxml alone. python-docx leaves out notes, text boxes and content controls; mammoth keeps all of them, but
takes some 30 times as long, since it reads with minidom (benchmarks/documents.py). Deleted text, comments, headers and
footers are left out; a note follows the paragraph that refers to it.
"""

import posixpath
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.corpus.sources.parsing.kinds import Limits, NotParsedError, Parsed
from llm_core.corpus.sources.parsing.sections import Block, by_heading
from llm_core.corpus.sources.parsing.zipped import open_zip, read_xml

TITLE = "{http://purl.org/dc/elements/1.1/}title"
TEXT = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
LEFT_OUT = {"del", "moveFrom", "Fallback", "instrText", "delText", "pPr", "rPr", "tblPr", "sectPr", "comment"}
NOTES = {"footnoteReference": "footnotes", "endnoteReference": "endnotes"}


def parse(path: Path, limits: Limits) -> Parsed:
    """Chapters at paragraphs of the style Heading 1, or of the outline's first level."""
    with open_zip(path, limits) as archive:
        names = set(archive.namelist())
        main = _main_part(archive)
        if main not in names:
            raise NotParsedError("quarantine_wrong_kind", f"no Word document ({main} is missing)")
        folder = posixpath.dirname(main)
        parts = {
            kind: read_xml(archive, f"{folder}/{kind}.xml")
            for kind in ("styles", "footnotes", "endnotes")
            if f"{folder}/{kind}.xml" in names
        }
        document = _Document(parts)
        sections = by_heading(document.blocks(read_xml(archive, main)))
        core = "docProps/core.xml"
        title = (read_xml(archive, core).findtext(f".//{TITLE}") if core in names else None) or ""
    return Parsed(sections, " ".join(title.split()) or None, len(sections))


def _main_part(archive: zipfile.ZipFile) -> str:
    """The name of the part with the text; `word/document.xml` in all but a few files."""
    if "_rels/.rels" in archive.namelist():
        for relation in read_xml(archive, "_rels/.rels"):
            if str(relation.get("Type", "")).endswith("/officeDocument"):
                return str(relation.get("Target", "")).lstrip("/")
    return "word/document.xml"


def _local(element: Any) -> str:
    """An element's name without its namespace (there are two: transitional and strict); empty for a comment."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _value(element: Any, *names: str) -> str | None:
    """The attribute `val` of the element below `element` that `names` lead to; None where there is none."""
    for name in names:
        element = next((child for child in element if _local(child) == name), None)
        if element is None:
            return None
    return _attribute(element, "val") or ""


def _attribute(element: Any, name: str) -> str | None:
    return next((value for key, value in element.items() if key.rpartition("}")[2] == name), None)


class _Document:
    def __init__(self, parts: dict[str, Any]) -> None:
        self.headings: set[str | None] = set()  # ids of the styles of the first level
        self.outline: set[str | None] = set()  # of all levels
        self.lists: set[str | None] = set()
        for style in parts.get("styles", ()):
            name = _attribute(style, "styleId")
            level = _value(style, "pPr", "outlineLvl")
            if (_value(style, "name") or "").lower() == "heading 1" or level == "0":
                self.headings.add(name)
            if level is not None:
                self.outline.add(name)
            if _value(style, "pPr", "numPr") is not None:
                self.lists.add(name)
        self.notes = {
            (kind, _attribute(note, "id")): note
            for kind in ("footnotes", "endnotes")
            for note in parts.get(kind, ())
            if _attribute(note, "type") is None  # others are separators
        }

    def blocks(self, parent: Any) -> Iterator[Block]:
        """Each paragraph and table row below `parent`."""
        for element in parent:
            name = _local(element)
            if name == "p":
                yield from self.paragraph(element)
            elif name == "tr":
                cells = [
                    " ".join(block.text for block in self.blocks(cell)) for cell in element if _local(cell) != "trPr"
                ]
                if line := "\t".join(cells).strip():
                    yield Block(line, line=True)
            elif name and name not in LEFT_OUT:
                yield from self.blocks(element)

    def paragraph(self, element: Any) -> Iterator[Block]:
        """A paragraph, then the text boxes and notes that hang on it."""
        behind: list[Any] = []
        if text := "".join(self.inline(element, behind)).strip():
            style = _value(element, "pPr", "pStyle")
            heading = style in self.headings or _value(element, "pPr", "outlineLvl") == "0"
            item = style in self.lists or _value(element, "pPr", "numPr") is not None
            item &= not (heading or style in self.outline)  # numbered headings are no items
            yield Block(f"- {text}" if item else text, heading, item)
        for other in behind:
            yield from self.blocks(other)

    def inline(self, element: Any, behind: list[Any]) -> Iterator[str]:
        """The text of a paragraph's runs; text boxes and notes are put into `behind`."""
        for child in element:
            name = _local(child)
            if name == "t":
                yield child.text or ""
            elif name in TEXT:
                yield TEXT[name]
            elif name in NOTES:
                # taken out: a note is written once, and one that refers to itself has an end
                note = self.notes.pop((NOTES[name], _attribute(child, "id")), None)
                behind += [] if note is None else [note]
            elif name == "txbxContent":
                behind.append(child)
            elif name and name not in LEFT_OUT:
                yield from self.inline(child, behind)
