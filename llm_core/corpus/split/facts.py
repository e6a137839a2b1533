"""What the split remembers of each document: some 70 bytes in columns on disk, whatever its length."""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pyarrow as pa

from llm_core.errors import UserError, require_known
from llm_core.formats.disk_columns import Column, StringColumn
from llm_core.formats.schema import read_metadata
from llm_core.kernels.arrays import Hashes, Ints


class Facts:
    """Facts of documents, numbered as they came."""

    def __init__(self, folder: Path, group_by: dict[str, str]) -> None:
        self.ids = StringColumn(folder)
        self.source = Column(folder, np.int32)
        """number of its source's name in `sources`"""
        self.size = Column(folder, np.int64)
        """bytes of UTF-8"""
        self.group = Column(folder, np.uint64)
        """digest of its source and of its value in the field of `group_by`, 0 for none"""
        self.sources: list[str] = []
        self.group_by = group_by
        self._grouped: set[str] = set()

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, batch: pa.RecordBatch, sizes: Ints) -> None:
        """Append the documents of a batch with the columns id, source and, to group by it, metadata.

        `sizes`: int64 [documents], bytes of each text.
        """
        named = batch.column("source").dictionary_encode()
        names = named.dictionary.to_pylist()
        self.sources += [name for name in names if name not in self.sources]
        codes = np.array([self.sources.index(name) for name in names], np.int32)
        self.ids.append(batch.column("id"))
        self.source.append(codes[named.indices.to_numpy()])
        self.size.append(sizes)
        self.group.append(self._groups(batch))

    def _groups(self, batch: pa.RecordBatch) -> Hashes:
        digests = np.zeros(batch.num_rows, np.uint64)
        if not self.group_by:
            return digests
        columns = (batch.column(name).to_pylist() for name in ("source", "metadata"))
        for row, (source, metadata) in enumerate(zip(*columns, strict=True)):
            field = self.group_by.get(source)
            value = read_metadata(metadata).get(field) if field else None
            if value is not None:
                self._grouped.add(source)
                group = f"{source}/{value}".encode("utf-8", "surrogatepass")
                digests[row] = int.from_bytes(blake2b(group, digest_size=8).digest(), "little")
        return digests

    def require_groups(self, known: Sequence[str]) -> None:
        """Raise UserError for a source or a metadata field in `split.group_by` that no document has."""
        require_known(self.group_by, {*self.sources, *known}, "split.group_by")
        for source, field in self.group_by.items():
            if source in self.sources and source not in self._grouped:
                raise UserError(f"split.group_by: no document of {source} has the metadata field '{field}'")
