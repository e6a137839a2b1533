"""PPTX by python-pptx: slides in order, each with its title, text frames, tables, groups and the speaker's notes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.corpus.sources.parsing.kinds import Limits, NotParsedError, Parsed, Section
from llm_core.corpus.sources.parsing.zipped import open_zip


def parse(path: Path, limits: Limits) -> Parsed:
    """The slides that have text."""
    import pptx

    open_zip(path, limits).close()
    with open(path, "rb") as stream:  # not by its path, which errors would name
        presentation = pptx.Presentation(stream)
        sections = []
        for number, slide in enumerate(presentation.slides, start=1):
            lines = [line for shape in slide.shapes for line in _lines(shape)]
            if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame):
                lines += _paragraphs(notes)
            title = slide.shapes.title
            heading = " ".join(title.text_frame.text.split()) if title is not None and title.has_text_frame else ""
            if lines:
                sections.append(Section("\n".join(lines), heading or None, number))
        if not sections:
            raise NotParsedError("quarantine_no_text_layer", f"{len(presentation.slides)} slides without text")
        title = " ".join((presentation.core_properties.title or "").split())
        return Parsed(sections, title or None, len(presentation.slides))


def _lines(shape: Any) -> Iterator[str]:
    if hasattr(shape, "shapes"):  # a group
        for inner in shape.shapes:
            yield from _lines(inner)
    elif getattr(shape, "has_table", False) and shape.has_table:
        for row in shape.table.rows:
            yield "\t".join(" ".join(cell.text_frame.text.split()) for cell in row.cells)
    elif shape.has_text_frame:
        yield from _paragraphs(shape.text_frame)


def _paragraphs(frame: Any) -> list[str]:
    """A text frame's paragraphs, line breaks within one (a vertical tab) as line ends."""
    texts = (paragraph.text.replace("\v", "\n").strip() for paragraph in frame.paragraphs)
    return [text for text in texts if text]
