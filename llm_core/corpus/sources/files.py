"""Source kind `files`: documents that lie somewhere already.

Folders (walked) and files, local or behind fsspec or http: Parquet, JSON lines, CSV and TSV (plain, gzip, zstd, bzip2,
xz), WARC, and plain text or HTML with one document a file. A data file is a shard; text and HTML files are taken
together, a few hundred at a time. A broken line, row group, record or file is quarantined alone; files of other kinds
are counted by reason (`llm_core.corpus.sources.survey`).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from llm_core.corpus.sources.base import Document, Limits, Record, Rejected, Shard, broken_file, only_urls
from llm_core.corpus.sources.charset import decode
from llm_core.corpus.sources.listed import check_again, limits, list_shards
from llm_core.corpus.sources.survey import fits
from llm_core.corpus.sources.tables import SEPARATED, read_table
from llm_core.errors import UserError
from llm_core.formats.documents import ENDINGS
from llm_core.network.addresses import is_web
from llm_core.network.downloads import Client
from llm_core.params.sources import FilesSource
from llm_core.runtime.inputs import COMPRESSED, BrokenInputError, open_unchanged
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
PAGES_A_SHARD = 500


class FilesRoom:
    """The files that the params name; pages are grouped into shards."""

    streaming = False

    def __init__(self, params: FilesSource, client: Client) -> None:
        self.params, self.client = params, client
        self.not_read: Counter[str] = Counter()
        self.named: set[str] = set()

    def shards(self) -> list[Shard]:
        """Data files each alone, then pages in groups."""
        self.not_read.clear()
        shards = list_shards(self.params, self.client, (*TABLES, *WARC, *PAGES), self.not_read)
        data = [shard for shard in shards if _page_type(shard.name) is None]
        pages = [shard for shard in shards if _page_type(shard.name)]
        for start in range(0, len(pages), PAGES_A_SHARD):
            group = pages[start : start + PAGES_A_SHARD]
            # A page's name is its redacted address, with a `+` for each earlier page that differs in a token alone.
            parts = tuple((page.address, len(page.name) - len(redact(page.address)), 0) for page in group)
            data.append(replace(group[0], address="", parts=parts))
        return data

    def bring(self, shard: Shard) -> Path | None:
        """A local path of a data file; pages are opened one by one."""
        check_again(self.params, shard.address)
        return self.client.bring(shard.address, shard.sha256) if shard.address else None

    def records(self, shard: Shard, file: Path | None, skipped: Counter[str]) -> Iterator[Record]:
        """Stream a data file's rows, or a group's pages; `key` is the file and the row."""
        records: Iterator[Record]
        if file is None:
            pages = ((address, redact(address) + "+" * earlier) for address, earlier, _ in shard.parts)
            records = (replace(self._page(address), file=name) for address, name in pages)
        else:
            records = read_data_file(file, shard.name, self.params.columns, skipped, limits(self.params), self.named)
        return only_urls(records, self.params.url_pattern)

    def _page(self, file: str) -> Record:
        """The one record of a text or HTML file."""
        content_type, name = _page_type(file) or "text/plain", redact(file)
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
        metadata = {"content_type": content_type, "charset": charset, "file": name}
        if name in self.client.answered:
            metadata["answered_by"] = self.client.answered[name]
        return Document(key=name, text=text, url=name if is_remote(file) else None, metadata=metadata)

    def _read_page(self, file: str, longest: int) -> bytes:
        if is_web(file):
            check_again(self.params, file)
            return self.client.get(file, max_bytes=longest)
        with open_unchanged(file) as stream:
            return stream.read(longest)


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


def _page_type(name: str) -> str | None:
    return PAGES.get(Path(urlsplit(name).path if is_remote(name) else name).suffix.lower())
