"""Source kind `dolma`: `documents/*.json.gz` of `id, text, source, added, created, metadata`, and attribute files.

A set of attributes lies at `attributes/NAME/` with the same file names as `documents/` and has lines
`{"id": …, "attributes": {…}}` in (nearly) the same order; they are joined by id as both files stream
(Soldaini et al. 2024, arXiv:2402.00159; format: github.com/allenai/dolma, docs/data-format.md).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from llm_core.corpus.sources.base import Document, Record, Shard, broken_file
from llm_core.corpus.sources.listed import check_again, limits, list_shards
from llm_core.corpus.sources.tables import read_table
from llm_core.errors import UserError
from llm_core.formats.documents import JSON_LINES
from llm_core.network.downloads import Client
from llm_core.params.sources import DolmaSource
from llm_core.runtime.json_lines import parse, read_lines


class DolmaRoom:
    """Dolma's document files, each with its attribute files."""

    streaming = False

    def __init__(self, params: DolmaSource, client: Client) -> None:
        self.params, self.client = params, client
        self.not_read: Counter[str] = Counter()

    def shards(self) -> list[Shard]:
        """A shard for each document file; an attribute file is none."""
        self.not_read.clear()
        shards = list_shards(self.params, self.client, JSON_LINES, self.not_read)
        return [shard for shard in shards if "/attributes/" not in shard.address]

    def bring(self, shard: Shard) -> Path:
        """The document file; the attribute files are brought beside it."""
        check_again(self.params, shard.address)
        for name in self.params.attributes:
            self.client.bring(_attributes_of(shard.address, name))
        return self.client.bring(shard.address, shard.sha256)

    def records(self, shard: Shard, file: Path | None, skipped: Counter[str]) -> Iterator[Record]:
        """Stream the documents; `key` is Dolma's id, which stays in the metadata as `dolma_id`."""
        assert file is not None
        try:
            yield from self._joined(shard, file)
        except UserError as error:  # a broken attribute file: documents without their attributes would be others
            yield broken_file(error)

    def _joined(self, shard: Shard, file: Path) -> Iterator[Record]:
        addresses = [_attributes_of(shard.address, name) for name in self.params.attributes]
        joins = [_Attributes(self.client.bring(address), address) for address in addresses]
        for record in read_table(file, shard.name, {}, limits(self.params)):
            if not isinstance(record, Document) or record.id is None:
                yield record
                continue
            metadata = {**record.metadata, "dolma_id": record.id, "content_type": "text/plain"}
            if joins:
                metadata["attributes"] = {name: value for join in joins for name, value in join.of(record.id).items()}
            url = record.url or (record.id if record.id.startswith(("http://", "https://")) else None)
            yield replace(record, key=record.id, id=None, url=url, metadata=metadata)


class _Attributes:
    """Attributes by id from a file that is read only as far as needed; lines that came too early are kept."""

    def __init__(self, file: Path, name: str) -> None:
        self._lines = enumerate(read_lines(file), start=1)
        self._name = name
        self._early: dict[str, dict[str, Any]] = {}

    def of(self, wanted: str) -> dict[str, Any]:
        """The attributes of one document; {} where the file has none."""
        if wanted in self._early:
            return self._early.pop(wanted)
        for number, line in self._lines:
            try:
                row = parse(line)
                identity, attributes = str(row["id"]), dict(row["attributes"])
            except (ValueError, KeyError, TypeError):
                raise UserError(f"{self._name}:{number}: a line with id and attributes is needed") from None
            if identity == wanted:
                return attributes
            self._early[identity] = attributes
        return {}


def _attributes_of(address: str, name: str) -> str:
    before, found, after = f"/{address}".rpartition("/documents/")
    if not found:
        raise UserError(f"{address}: attributes lie beside a folder `documents`, which is not in this path")
    return f"{before}/attributes/{name}/{after}"[1:]
