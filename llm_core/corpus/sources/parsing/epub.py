"""EPUB: the documents of the spine in reading order, as text (EPUB 3, W3C; EPUB 2 has the same spine)."""

import posixpath
import re
from pathlib import Path
from urllib.parse import unquote

from llm_core.corpus.sources.charset import decode
from llm_core.corpus.sources.parsing.kinds import Limits, NotParsedError, Parsed, Section
from llm_core.corpus.sources.parsing.sections import html_text
from llm_core.corpus.sources.parsing.zipped import open_zip, read_xml

CONTAINER, ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
HEADING = re.compile(r"<h[1-3]\b[^>]*>(.*?)</h[1-3]>", re.DOTALL | re.IGNORECASE)
PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


def parse(path: Path, limits: Limits) -> Parsed:
    """A chapter for each document of the spine. Raises NotParsedError where the book's text is encrypted."""
    with open_zip(path, limits) as archive:
        names = set(archive.namelist())
        if CONTAINER not in names:
            raise NotParsedError("quarantine_wrong_kind", f"no e-book ({CONTAINER} is missing)")
        root = read_xml(archive, CONTAINER).find(".//{*}rootfile")
        package_name = root.get("full-path", "") if root is not None else ""
        package = read_xml(archive, package_name)
        folder = posixpath.dirname(package_name)
        pages = {
            item.get("id"): posixpath.normpath(posixpath.join(folder, unquote(item.get("href", ""))))
            for item in package.iterfind(".//{*}manifest/{*}item")
            if item.get("media-type") in PAGES
        }
        spine = [
            pages[item.get("idref")]
            for item in package.iterfind(".//{*}spine/{*}itemref")
            if item.get("idref") in pages
        ]
        if ENCRYPTION in names:  # fonts alone are often obscured; a page that is encrypted cannot be read
            locked = {
                unquote(place.get("URI", ""))
                for place in read_xml(archive, ENCRYPTION).iterfind(".//{*}CipherReference")
            }
            if locked & set(spine):
                raise NotParsedError("quarantine_encrypted", "protected by digital rights management")
        sections, size = [], 0
        for number, name in enumerate(dict.fromkeys(spine), start=1):
            page, _ = decode(archive.read(name))
            heading = HEADING.search(page)
            text = html_text(page)
            size += len(text.encode("utf-8", "replace"))
            if size > limits.max_document_bytes:
                raise NotParsedError("quarantine_too_large", f"more than {limits.max_document_bytes} bytes of text")
            if text:
                sections.append(Section(text, " ".join(html_text(heading[1]).split()) if heading else None, number))
    title = package.findtext(".//{http://purl.org/dc/elements/1.1/}title") or ""
    return Parsed(sections, " ".join(title.split()) or None, len(spine))
