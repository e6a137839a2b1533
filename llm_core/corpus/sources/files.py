"""Source kind `files`: documents that lie somewhere already.

Folders (walked) and files, local or behind fsspec or http: Parquet, JSON lines, CSV and TSV (plain, gzip, zstd, bzip2,
xz), WARC, plain text or HTML with one document a file, PDF, office files and e-books with one for each file, page or
chapter (`llm_core.corpus.sources.parsing`), MediaWiki's dumps, and zip and tar archives of all these. A data file, dump
or archive is a shard; the others are taken together, up to some hundred at a time. A broken line, row group, record or
file is quarantined alone; files of other kinds are counted by reason (`llm_core.corpus.sources.survey`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from llm_core.corpus.sources import mediawiki
from llm_core.corpus.sources.archived import ARCHIVES, Archives
from llm_core.corpus.sources.base import Document, Limits, Record, Rejected, Shard, broken_file, only_urls
from llm_core.corpus.sources.charset import decode
from llm_core.corpus.sources.documents import read_document
from llm_core.corpus.sources.listed import check_again, counts_of, limits, list_shards
from llm_core.corpus.sources.parsing.client import Parser
from llm_core.corpus.sources.parsing.kinds import EXTRA, KINDS, WIKITEXT_NEEDS, installed
from llm_core.corpus.sources.survey import ending_of, fits, survey
from llm_core.corpus.sources.tables import SEPARATED, read_table
from llm_core.errors import UserError
from llm_core.formats.documents import ENDINGS
from llm_core.network.addresses import is_web
from llm_core.network.downloads import Client
from llm_core.params.sources import FilesSource
from llm_core.runtime.inputs import COMPRESSED, BrokenInputError, open_unchanged
from llm_core.runtime.progress import log
from llm_core.runtime.redaction import redact
from llm_core.runtime.storage import is_remote

TABLES = (*ENDINGS, *(name + end for name in SEPARATED for end in ("", *COMPRESSED)))
WARC = (".warc", ".warc.gz", ".warc.zst", ".wet", ".wet.gz", ".wat", ".wat.gz")
TEXT = (".txt", ".text", ".md", ".markdown", ".rst", ".adoc", ".org", ".tex")
CODE = (
    ".c", ".cc", ".cpp", ".cs", ".cxx", ".go", ".h", ".hpp", ".hs", ".java", ".jl", ".js",
    ".jsx", ".kt", ".lua", ".m", ".ml", ".php", ".pl", ".py", ".r", ".rb", ".rs", ".scala",
    ".sh", ".sql", ".swift", ".ts", ".tsx",
)  # fmt: skip
PAGES = dict.fromkeys((*TEXT, *CODE), "text/plain") | dict.fromkeys((".html", ".htm", ".xhtml"), "text/html")
READ = (*TABLES, *WARC, *PAGES, *KINDS, *ARCHIVES, *mediawiki.ENDINGS)
"""endings of all files that are read"""
PAGES_A_SHARD = 500
DOCUMENTS_A_SHARD = 50  # parsing one takes a thousand times as long as decoding a page


class FilesRoom:
    """The files that the params name; pages and documents are grouped into shards."""

    streaming = False

    def __init__(self, params: FilesSource, client: Client) -> None:
        self.params, self.client = params, client
        self.not_read: Counter[str] = Counter()
        self.named: set[str] = set()

    def shards(self) -> list[Shard]:
        """Data files and archives each alone, then pages in groups, then PDF, office files and e-books in groups."""
        self.not_read.clear()
        shards = self._with_parser(list_shards(self.params, self.client, READ, self.not_read))
        pages = [shard for shard in shards if _page_type(shard.name) and not shard.sha256]
        documents = [shard for shard in shards if ending_of(shard.name) in KINDS and not shard.sha256]
        together = {shard.name for shard in (*pages, *documents)}
        data = [shard for shard in shards if shard.name not in together]
        return [*data, *_grouped(pages, PAGES_A_SHARD), *_grouped(documents, DOCUMENTS_A_SHARD)]

    def _with_parser(self, shards: list[Shard]) -> list[Shard]:
        """The shards for which the libraries are there; the others are counted, and the extra that has them named."""
        reasons = {shard.name: _why_not_read(shard.name) for shard in shards}
        left = [shard for shard in shards if reasons[shard.name] is None]
        if len(left) == len(shards):
            return shards
        self.not_read.update(reason for reason in reasons.values() if reason)
        remedy = f"pip install 'llm-core-pipeline[{EXTRA}]'"
        if not left:
            raise UserError(f"{shards[0].name}: files of this kind need an extra of the project: {remedy}")
        log(f"{len(shards) - len(left)} files are not read without an extra of the project: {remedy}")
        return left

    def bring(self, shard: Shard) -> Path | None:
        """A local path of a data file; pages and documents are opened one by one."""
        check_again(self.params, shard.address)
        return self.client.bring(shard.address, shard.sha256) if shard.address else None

    def records(self, shard: Shard, file: Path | None, skipped: Counter[str]) -> Iterator[Record]:
        """Stream a data file's rows, or a group's pages or documents; `key` is the file and the row."""
        members = [(address, redact(address) + "+" * earlier) for address, earlier, _ in shard.parts]
        with Parser(self.params) as parser:
            if file is not None:
                records = self._read(file, shard.name, skipped, parser)
            else:
                records = chain.from_iterable(self._of_group(address, name, parser) for address, name in members)
            yield from only_urls(records, self.params.url_pattern)

    def _read(self, path: Path, name: str, skipped: Counter[str], parser: Parser) -> Iterator[Record]:
        """The records of one local file, by the name that it has where it comes from."""
        if fits(name, ARCHIVES):
            read = partial(self._read, skipped=skipped, parser=parser)
            yield from Archives(limits(self.params), skipped, _why_not_read, read).records(path, name)
        elif ending_of(name) in KINDS:
            yield from read_document(parser, path, name, self.params.unit, self._answered(name))
        elif _page_type(name):
            yield self._page(str(path), name)
        elif fits(name, mediawiki.ENDINGS):
            yield from mediawiki.read_dump(path, name, parser, limits(self.params), skipped)
        else:
            yield from read_data_file(path, name, self.params.columns, skipped, limits(self.params), self.named)

    def _of_group(self, address: str, name: str, parser: Parser) -> Iterator[Record]:
        """The records of a page or document, which is opened here."""
        if ending_of(name) not in KINDS:
            yield replace(self._page(address, redact(address)), file=name)
            return
        try:
            check_again(self.params, address)
            path = self.client.bring(address)
        except UserError as error:
            yield Rejected("quarantine_unavailable", 0, detail=str(error)[:300], file=name)
            return
        yield from read_document(parser, path, name, self.params.unit, self._answered(redact(address)))

    def _answered(self, name: str) -> dict[str, str]:
        return {"answered_by": self.client.answered[name]} if name in self.client.answered else {}

    def _page(self, file: str, name: str) -> Record:
        """The one record of a text or HTML file."""
        content_type = _page_type(name) or "text/plain"
        longest = self.params.max_document_bytes
        try:
            data = self._read_page(file, longest + 1)
        except BrokenInputError as error:
            return broken_file(error)
        except UserError as error:
            return Rejected("quarantine_unavailable", 0, detail=str(error)[:300])
        except OSError as error:
            return Rejected("quarantine_unreadable_file", 0, detail=f"{name}: {error.strerror}")
        if len(data) > longest:
            return Rejected("quarantine_too_large", 0, len(data), name)
        if b"\0" in data[:4096] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return Rejected("quarantine_binary_file", 0, len(data), name)
        text, charset = decode(data, html=content_type == "text/html")
        metadata = {"content_type": content_type, "charset": charset, "file": name, **self._answered(name)}
        return Document(key=name, text=text, url=name if is_remote(name) else None, metadata=metadata)

    def _read_page(self, file: str, longest: int) -> bytes:
        if is_web(file):
            check_again(self.params, file)
            return self.client.get(file, max_bytes=longest)
        with open_unchanged(file) as stream:
            return stream.read(longest)


def inventory(path: str) -> tuple[Counter[str], Counter[str]]:
    """What `fetch` will find at a local path: files by ending, and those that it will not read by reason.

    Raises UserError: nothing there, or no file that is read.
    """
    files, not_read = survey(path, READ)
    read: Counter[str] = Counter()
    for file in files:
        if reason := _why_not_read(file):
            not_read[reason] += 1
        else:
            read[max((ending for ending in READ if fits(file, (ending,))), key=len)] += 1
    if not read:
        raise UserError(
            f"{path}: holds no file that is read ({counts_of(not_read) or 'it is empty'}); "
            "docs/how-to/sources.md lists the kinds that are"
        )
    return read, not_read


def read_data_file(
    file: Path,
    name: str,
    columns: Mapping[Any, str],
    skipped: Counter[str],
    limits: Limits | None = None,
    named: set[str] | None = None,
) -> Iterator[Record]:
    """Stream a table's rows or a WARC file's records, by the name that the file has where it comes from.

    `named` as for `read_table`.
    """
    if fits(name, WARC):
        from llm_core.corpus.sources.warc import read_warc_file

        yield from read_warc_file(file, skipped, name)
    else:
        yield from read_table(file, name, columns, limits, named)


def _grouped(shards: list[Shard], size: int) -> Iterator[Shard]:
    for start in range(0, len(shards), size):
        group = shards[start : start + size]
        # A file's name is its redacted address, with a `+` for each earlier file that differs in a token alone.
        parts = tuple((shard.address, len(shard.name) - len(redact(shard.address)), 0) for shard in group)
        yield replace(group[0], address="", parts=parts)


def _why_not_read(name: str) -> str | None:
    """Why a file of this name is not read, as a reason to count; None where it is."""
    if not fits(name, READ):
        return f"other_ending {ending_of(name)}"
    ending = ending_of(name)
    needs = KINDS[ending].needs if ending in KINDS else WIKITEXT_NEEDS if fits(name, mediawiki.ENDINGS) else ()
    return None if installed(needs) else f"needs_extra_{EXTRA} {ending}"


def _page_type(name: str) -> str | None:
    return PAGES.get(ending_of(name))
