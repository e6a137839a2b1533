"""MediaWiki's XML dumps (`pages-articles.xml.bz2`, as Wikipedia publishes them), as a stream in constant memory.

The articles are documents: pages of namespace 0, in their last revision, as text (`parsing.wikitext`). Redirects, pages
of other namespaces and pages in other formats are counted. A dump declares no entities; a file that does is refused.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote
from xml.parsers import expat

from llm_core.corpus.sources.base import Document, Limits, Record, Rejected, broken_file, or_empty
from llm_core.corpus.sources.parsing.client import Parser
from llm_core.errors import UserError
from llm_core.runtime.inputs import COMPRESSED, BrokenInputError, open_input

ENDINGS = tuple(f".xml{compression}" for compression in ("", *COMPRESSED))
READ_BYTES = 1 << 16
MAX_DEPTH = 50  # elements in one another; a dump has 4
FIELDS = {
    ("page", "title"): "title",
    ("page", "ns"): "namespace",
    ("page", "id"): "page_id",
    ("page", "revision", "id"): "revision_id",
    ("page", "revision", "timestamp"): "timestamp",
    ("page", "revision", "model"): "model",
    ("page", "revision", "text"): "text",
}
SITE = {("siteinfo", "base"): "base", ("siteinfo", "namespaces", "namespace"): "namespace"}
OF_FILES_AND_CATEGORIES = ("6", "14")  # keys of namespaces, the same in all wikis


@dataclass
class Page:
    """One page as the dump has it."""

    offset: int  # byte of the decompressed file
    redirect: bool = False
    too_large: bool = False
    values: dict[str, str] = field(default_factory=dict)


def read_dump(file: Path, name: str, parser: Parser, limits: Limits, skipped: Counter[str]) -> Iterator[Record]:
    """Stream the articles of a dump. One that breaks off, or is no dump, ends with a rejected record."""
    reader = _Reader(name, limits.max_document_bytes)
    try:
        with open_input(file, name, limits.max_inflation) as stream:
            pages = (page for data in _pieces(stream) for page in reader.feed(data))
            yield from or_empty(_records(pages, reader, name, parser, skipped), skipped)
    except (UserError, OSError) as error:
        yield broken_file(error, reader.fed)
    except expat.ExpatError as error:
        yield Rejected("quarantine_xml", reader.fed, detail=f"{name}: {error}")


def _pieces(stream: object) -> Iterator[bytes]:
    while data := stream.read(READ_BYTES):  # type: ignore[attr-defined]
        yield data
    yield b""


def _records(
    pages: Iterator[Page], reader: "_Reader", name: str, parser: Parser, skipped: Counter[str]
) -> Iterator[Record]:
    for page in pages:
        values = page.values
        if values.get("namespace", "0") != "0":
            skipped["wiki_other_namespace"] += 1
        elif page.redirect:
            skipped["wiki_redirect"] += 1
        elif values.get("model", "wikitext") != "wikitext":
            skipped["wiki_other_format"] += 1
        elif page.too_large:
            yield Rejected("quarantine_too_large", page.offset, detail=values.get("title", "")[:300])
        else:
            yield _record(page, reader, name, parser)


def _record(page: Page, reader: "_Reader", name: str, parser: Parser) -> Record:
    title = page.values.get("title", "")
    source = page.values.get("text", "")
    try:
        text = parser.wikitext(source, title, reader.namespaces)
    except BrokenInputError as error:
        return broken_file(error, page.offset, len(source.encode()))
    if not text:
        return Rejected("empty_page", page.offset, len(source.encode()), title[:300])
    place = reader.base.rpartition("/")[0]
    return Document(
        key=f"{name}#{page.values.get('page_id') or page.offset}",
        text=text,
        url=f"{place}/{quote(title.replace(' ', '_'))}" if place and title else None,
        created=page.values.get("timestamp"),
        metadata={
            "content_type": "text/plain",
            "format": "wikitext",
            "file": name,
            **{key: page.values[key] for key in ("title", "page_id", "revision_id") if page.values.get(key)},
        },
        offset=page.offset,
    )


class _Reader:
    """Pages from pieces of XML. What it holds is one page, no longer than `max_bytes`."""

    def __init__(self, name: str, max_bytes: int) -> None:
        self.name, self.max_bytes = name, max_bytes
        self.base = ""
        self.namespaces: list[str] = []  # the wiki's names for files and categories
        self.fed = 0
        self._path: list[str] = []
        self._page: Page | None = None
        self._done: list[Page] = []
        self._text: list[str] | None = None  # of the element that is being read
        self._held = 0  # characters in `_text`
        self._key = ""
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.EntityDeclHandler = self._entity

    def feed(self, data: bytes) -> list[Page]:
        """The pages that end in `data`; b"" ends the file. Raises BrokenInputError and ExpatError."""
        self._parser.Parse(data, not data)
        self.fed += len(data)
        if self.fed - self._parser.CurrentByteIndex > self.max_bytes:
            raise BrokenInputError("quarantine_too_large", f"{self.name}: a tag of more than {self.max_bytes} bytes")
        done, self._done = self._done, []
        return done

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._path and tag != "mediawiki":
            raise BrokenInputError("quarantine_wrong_kind", f"{self.name}: XML, but no MediaWiki dump (<{tag[:40]}>)")
        self._path.append(tag)
        if len(self._path) > MAX_DEPTH:
            raise BrokenInputError("quarantine_too_deep", f"{self.name}: elements in more than {MAX_DEPTH} others")
        below = tuple(self._path[1:])
        if below == ("page",):
            self._page = Page(self._parser.CurrentByteIndex)
        elif below == ("page", "redirect") and self._page:
            self._page.redirect = True
        key = FIELDS.get(below) or SITE.get(below)
        if key:
            self._key = attributes.get("key", "") if key == "namespace" and below[0] == "siteinfo" else key
            self._text, self._held = [], 0

    def _characters(self, data: str) -> None:
        if self._text is None:
            return
        self._held += len(data)
        if self._held <= self.max_bytes:
            self._text.append(data)
        elif self._page:
            self._page.too_large = True

    def _end(self, tag: str) -> None:
        below = tuple(self._path[1:])
        if self._text is not None and (below in FIELDS or below in SITE):
            value = "".join(self._text)
            self._text = None
            if self._page and below in FIELDS:
                self._page.values[self._key] = value
            elif self._key == "base":
                self.base = value
            elif self._key in OF_FILES_AND_CATEGORIES:
                self.namespaces.append(value)
        if below == ("page",) and self._page:
            self._done.append(self._page)
            self._page = None
        self._path.pop()

    def _entity(self, *_: object) -> None:
        raise BrokenInputError("quarantine_xml_entities", f"{self.name}: declares entities, which no dump does")
