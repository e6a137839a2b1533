"""Small documents of each kind, as bytes, made by the libraries that write them or by hand."""

import datetime
import io
import zipfile
from collections.abc import Sequence
from typing import Any

ODT_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"
 xmlns:draw="urn:oasis:names:tc:opendocument:xmlns:drawing:1.0"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><office:body><office:text>"""
ODT_TAIL = "</office:text></office:body></office:document-content>"
ODT_META = """<office:document-meta xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:dc="http://purl.org/dc/elements/1.1/"><office:meta><dc:title>{}</dc:title></office:meta></office:document-meta>"""
CONTAINER = """<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>
<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>"""


def pdf(
    pages: Sequence[str], title: str = "", password: str = "", outline: Sequence[tuple[int, int, str]] = ()
) -> bytes:
    """A PDF with a page for each text; an empty text gives a page with a drawing only, as a scanned page has.

    `outline`: (page, level, title) of each entry, in order, with pages and levels from 1 and 0.
    """
    import fpdf

    made = fpdf.FPDF()
    made.set_creation_date(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
    made.set_title(title)
    if password:
        made.set_encryption(owner_password="owner", user_password=password)
    made.set_font("helvetica", size=11)
    for number, text in enumerate(pages, start=1):
        made.add_page()
        for page, level, name in outline:
            if page == number:
                made.start_section(name, level)
        if text:
            made.multi_cell(0, 6, text)
        else:
            made.rect(20, 20, 100, 100)
    return bytes(made.output())


def docx(blocks: Sequence[Any], title: str = "") -> bytes:
    """A DOCX: a string is a paragraph, (level, text) a heading, a list of strings a list, of lists a table."""
    import docx as library

    made = library.Document()
    made.core_properties.title = title
    for block in blocks:
        if isinstance(block, str):
            made.add_paragraph(block)
        elif isinstance(block, tuple):
            made.add_heading(block[1], block[0])
        elif isinstance(block[0], str):
            for item in block:
                made.add_paragraph(item, style="List Bullet")
        else:
            table = made.add_table(len(block), len(block[0]))
            for row, cells in zip(table.rows, block, strict=True):
                for cell, text in zip(row.cells, cells, strict=True):
                    cell.text = text
    sink = io.BytesIO()
    made.save(sink)
    return sink.getvalue()


def pptx(slides: Sequence[tuple[str, str, str]], title: str = "") -> bytes:
    """A PPTX with a slide for each (title, body, notes)."""
    import pptx as library

    made = library.Presentation()
    made.core_properties.title = title
    for heading, body, notes in slides:
        slide = made.slides.add_slide(made.slide_layouts[1])
        slide.shapes.title.text = heading
        slide.placeholders[1].text = body
        if notes:
            slide.notes_slide.notes_text_frame.text = notes
    sink = io.BytesIO()
    made.save(sink)
    return sink.getvalue()


def zipped(members: dict[str, str | bytes]) -> bytes:
    """A zip archive."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    return sink.getvalue()


def odt(body: str, title: str = "", **others: str) -> bytes:
    """An ODT whose text is the XML `body`."""
    return zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.text",
            "content.xml": ODT_HEAD + body + ODT_TAIL,
            "meta.xml": ODT_META.format(title),
            **others,
        }
    )


def epub(chapters: Sequence[str], title: str = "A book", **others: str) -> bytes:
    """An EPUB with a page of XHTML for each body in `chapters`."""
    items = "".join(
        f'<item id="c{n}" href="text%20{n}.xhtml" media-type="application/xhtml+xml"/>' for n in range(len(chapters))
    )
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></metadata>'
        f"<manifest>{items}</manifest><spine>{spine}</spine></package>"
    )
    pages = {
        f"OEBPS/text {n}.xhtml": f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>{title}</title></head>'
        f"<body>{body}</body></html>"
        for n, body in enumerate(chapters)
    }
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": CONTAINER,
            "OEBPS/book.opf": package,
            **pages,
            **others,
        }
    )
