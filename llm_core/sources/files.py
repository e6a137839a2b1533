"""Source kind `files`: documents that lie somewhere already.

Folders (walked) and files, local or behind fsspec or http: Parquet, JSONL (plain, gzip, zstd), WARC, and
plain text or HTML with one document a file. A data file is a shard; text and HTML files are taken together,
a few hundred at a time. A broken line, row group, record or file is quarantined alone.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from llm_core.downloads import Client
from llm_core.errors import UserError
from llm_core.params.sources import FilesSource
from llm_core.sources.base import Document, Record, Rejected, Shard
from llm_core.sources.tables import read_table
from llm_core.storage import is_remote, list_files, open_file

TABLES = (".parquet", ".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
PAGES = {".txt": "text/plain", ".md": "text/plain", ".html": "text/html", ".htm": "text/html"}
WARC_ENDINGS = (".warc", ".warc.gz", ".wet", ".wet.gz", ".wat", ".wat.gz")
ENDINGS = (*TABLES, *PAGES, *WARC_ENDINGS)
PAGES_A_SHARD = 500


class FilesRoom:
    """The files at `params.paths`, in the order given, folders sorted by name."""

    def __init__(self, params: FilesSource, client: Client) -> None:
        self.params, self.client = params, client
        self._pages: dict[str, list[str]] = {}

    def shards(self) -> list[Shard]:
        """Data files each alone, pages in groups."""
        shards: dict[str, Shard] = {}
        pages: list[str] = []
        for path in self.params.paths:
            web = path.startswith(("http://", "https://"))
            for file in [path] if web else list_files(path, ENDINGS):
                if Path(file).suffix.lower() in PAGES and not web:
                    pages.append(file)
                else:
                    shards[file] = Shard(file, file)
        if not shards and not pages:
            raise UserError(f"{', '.join(self.params.paths)}: holds no file ending in {', '.join(ENDINGS)}")
        pages = list(dict.fromkeys(pages))
        for start in range(0, len(pages), PAGES_A_SHARD):
            group = pages[start : start + PAGES_A_SHARD]
            self._pages[group[0]] = group
            shards[group[0]] = Shard(group[0])
        return list(shards.values())

    def bring(self, shard: Shard) -> Path | None:
        """A local path of a data file; pages are opened one by one."""
        return self.client.bring(shard.address) if shard.address else None

    def records(self, shard: Shard, file: Path | None, skipped: Counter[str]) -> Iterator[Record]:
        """Stream a data file's rows, or a group's pages; `key` is the file and the row."""
        if file is None:
            if not self._pages:
                self.shards()
            yield from _pages(self._pages[shard.name])
        else:
            yield from read_data_file(file, shard.name, self.params.columns, skipped)


def read_data_file(file: Path, name: str, columns: Mapping[str, str], skipped: Counter[str]) -> Iterator[Record]:
    """Stream a table's rows or a WARC file's records, by the file's name."""
    if name.lower().endswith(WARC_ENDINGS):
        from llm_core.sources.warc import read_warc_file

        yield from read_warc_file(file, skipped, name)
    else:
        yield from read_table(file, name, columns)


def _pages(files: list[str]) -> Iterator[Record]:
    from llm_core.sources.charset import decode

    for number, file in enumerate(files):
        content_type = PAGES[Path(file).suffix.lower()]
        try:
            with open_file(file) as stream:
                data: bytes = stream.read()
        except OSError as error:
            yield Rejected("quarantine_unreadable_file", number, detail=f"{file}: {error.strerror}")
            continue
        if b"\0" in data[:4096] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
            yield Rejected("quarantine_binary_file", number, len(data), file)
            continue
        text, charset = decode(data, html=content_type == "text/html")
        metadata = {"content_type": content_type, "charset": charset, "file": file}
        url = file if is_remote(file) else None
        yield Document(key=file, text=text, url=url, metadata=metadata, offset=number)
