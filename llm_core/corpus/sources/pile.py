"""Source kind `pile`: The Pile's layout, `*.jsonl.zst` of `{"text": …, "meta": {"pile_set_name": …}}`.

Some copies on the hub hold `meta` as the text of a Python dictionary; both are read
(Gao et al. 2020, arXiv:2101.00027).
"""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from llm_core.corpus.sources.base import Document, Record, Rejected, Shard
from llm_core.corpus.sources.listed import limits, list_shards
from llm_core.corpus.sources.tables import read_table
from llm_core.formats.documents import JSON_LINES
from llm_core.network.downloads import Client
from llm_core.params.sources import PileSource
from llm_core.runtime.json_lines import is_too_deep

MAX_SETS = 1000  # the Pile has 22


class PileRoom:
    """The Pile's shards, from local folders or addresses."""

    streaming = False

    def __init__(self, params: PileSource, client: Client) -> None:
        self.params, self.client = params, client
        self.not_read: Counter[str] = Counter()
        self.named: set[str] = set()

    def shards(self) -> list[Shard]:
        """A shard for each file."""
        self.not_read.clear()
        return list_shards(self.params, self.client, JSON_LINES, self.not_read)

    def bring(self, shard: Shard) -> Path:
        """The verified file."""
        return self.client.bring(shard.address, shard.sha256)

    def records(self, shard: Shard, file: Path | None, skipped: Counter[str]) -> Iterator[Record]:
        """Stream the lines; the Pile's own set is `pile_set_name` in the metadata."""
        assert file is not None
        wanted = set(self.params.subsets)
        for record in read_table(file, shard.name, {}, limits(self.params)):
            if not isinstance(record, Document):
                yield record
                continue
            meta = record.metadata.get("meta")
            if isinstance(meta, str):
                try:
                    meta = None if is_too_deep(meta.encode("utf-8", "replace")) else ast.literal_eval(meta)
                except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
                    meta = None
            name = meta.get("pile_set_name") if isinstance(meta, dict) else None
            if wanted and name is not None and len(self.named) < MAX_SETS:
                self.named.add(str(name))
            if wanted and name not in wanted:
                yield Rejected("pile_subset", record.offset, len(record.text.encode("utf-8", "replace")), name)
                continue
            others = {key: value for key, value in record.metadata.items() if key != "meta"}
            own = meta if isinstance(meta, dict) else {}
            yield replace(record, metadata={**others, **own, "content_type": "text/plain"})
