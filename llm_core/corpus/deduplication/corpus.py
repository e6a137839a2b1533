"""What is remembered of each document: some 100 bytes on disk, whatever its length; and the store of earlier runs.

A store is a folder with the facts of every document judged so far (`facts.parquet`), the
signature of every distinct text, and the params it was made under. A later run continues
it without reading the old texts.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from llm_core.corpus.deduplication.signing import Signed
from llm_core.corpus.deduplication.texts import Texts
from llm_core.corpus.similarity.clusters import Near, ShingleStore
from llm_core.errors import UserError
from llm_core.formats.disk_columns import ROWS_AT_ONCE, Column, StringColumn
from llm_core.kernels.arrays import Hashes
from llm_core.runtime.storage import read_json, write_json

Codes = npt.NDArray[np.int8]
SPELLING = 2  # of the addresses whose digests are stored (`formats.urls.plain_url`); raise it when that changes
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("length", pa.int64(), nullable=False),  # bytes of UTF-8
        pa.field("digest", pa.binary(16), nullable=False),  # of the words
        pa.field("url", pa.uint64(), nullable=False),  # digest of the address, 0 for none
        pa.field("stored", pa.int64(), nullable=False),  # place of its text's signature
        pa.field("kept", pa.bool_(), nullable=False),
    ]
)


class Corpus:
    """Facts of documents in columns below `folder`, numbered as they came; `store` takes the signature of each text."""

    def __init__(self, folder: Path, store: ShingleStore) -> None:
        self.store = store
        self.known = 0
        """The first so many documents are those of earlier runs."""
        self.kept = Column(folder, np.bool_)
        """whether it is kept: by earlier runs at first ([known]), of all documents in the end"""
        self.ids = StringColumn(folder)
        self.texts = Texts(folder)
        self.source = Column(folder, np.int32)
        """number of its source's name in `sources`"""
        self.length = Column(folder, np.int64)
        """bytes of UTF-8"""
        self.url = Column(folder, np.uint64)
        """digest of the address, 0 for none"""
        self.removed = Column(folder, np.int8)
        """0, or 1 + the number of the kind of tombstone"""
        self.stored = Column(folder, np.int64)
        """place of its text among `texts` and in the store; -1 for a removed document and one without words"""
        self.sources: list[str] = []

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, ids: pa.Array, sources: pa.Array, urls: Hashes, removed: Codes, signed: Signed) -> None:
        """Append the documents of a batch."""
        stored, new = self.texts.places(signed.digests, signed.digests.any(axis=1) & (removed == 0))
        if signed.signatures:
            self.store.append(signed.signatures if new.all() else signed.signatures.take(np.flatnonzero(new)))
        named = sources.dictionary_encode()
        for name in named.dictionary.to_pylist():
            if name not in self.sources:
                self.sources.append(name)
        codes = np.array([self.sources.index(name) for name in named.dictionary.to_pylist()], np.int32)
        self.ids.append(ids)
        self.source.append(codes[named.indices.to_numpy()])
        self.length.append(signed.lengths)
        self.url.append(urls)
        self.removed.append(removed)
        self.stored.append(stored)

    def load(self, folder: Path) -> None:
        """Begin with the documents of an earlier run's store (call before any `add`, on a copy of its files)."""
        for batch in pq.ParquetFile(folder / "facts.parquet").iter_batches():
            digest = np.frombuffer(batch.column("digest").buffers()[1], np.uint64)
            stored = batch.column("stored").to_numpy()
            self.texts.put(digest.reshape(-1, 2)[batch.column("digest").offset :][: batch.num_rows], stored)
            self.ids.append(batch.column("id"))
            self.source.append(np.zeros(batch.num_rows, np.int32))
            self.length.append(batch.column("length").to_numpy())
            self.url.append(batch.column("url").to_numpy())
            self.removed.append(np.zeros(batch.num_rows, np.int8))
            self.stored.append(stored)
            self.kept.append(batch.column("kept").to_numpy(zero_copy_only=False))
        self.known = len(self)
        self.sources = [""]

    def save(self, folder: Path, near: Near) -> None:
        """Write the facts beside the signatures; documents without words and removed ones are left out."""
        digests = self.texts.digests
        with pq.ParquetWriter(folder / "facts.parquet", SCHEMA, compression="zstd") as writer:
            for start in range(0, len(self), ROWS_AT_ONCE):
                rows = start + np.flatnonzero(self.stored.values[start : start + ROWS_AT_ONCE] >= 0)
                stored = self.stored.values[rows]
                digest = pa.py_buffer(np.ascontiguousarray(digests[stored]))
                columns = [
                    self.ids.take(rows),
                    self.length.values[rows],
                    pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(rows), [None, digest]),
                    self.url.values[rows],
                    stored,
                    self.kept.values[rows],
                ]
                writer.write_table(pa.table([pa.array(column) for column in columns], schema=SCHEMA))
        write_json(folder / "near.json", _made_under(near))


def _made_under(near: Near) -> dict[str, Any]:
    """What must be the same in two runs whose signatures and digests are compared."""
    return {**near._asdict(), "address_spelling": SPELLING}


def copy_store(known: Path, folder: Path, near: Near) -> None:
    """Copy the signatures of an earlier run's store to `folder`, to be continued there.

    Raises UserError where there is none, or where it was made under other params.
    """
    made, here = read_json(known / "near.json"), _made_under(near)
    if made != here:
        differing = [
            f"{name} {made.get(name)} there, {value} here" for name, value in here.items() if made.get(name) != value
        ]
        raise UserError(f"{known}: its signatures were made under other params ({'; '.join(differing)})")
    for file in sorted(known.glob("*.[ui]64")):
        shutil.copyfile(file, folder / file.name)
