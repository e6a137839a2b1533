"""What is remembered of each document: some 100 bytes of facts, whatever its length; and the store of earlier runs.

A store is a folder with the facts of every document judged so far (`facts.parquet`), the
signature of every distinct text, and the params it was made under. A later run continues
it without reading the old texts.
"""

import shutil
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llm_core.deduplication.signing import Signed
from llm_core.errors import UserError
from llm_core.similarity.clusters import Near, ShingleStore
from llm_core.storage import read_json, write_json

Numbers = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Codes = npt.NDArray[np.int8]
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
FILES = ("shingles.u64", "keys.u64", "sizes.i64")


class Corpus:
    """Facts of documents in columns, numbered as they came; `store` takes the signature of each distinct text."""

    def __init__(self, store: ShingleStore) -> None:
        self.store = store
        self.known = 0
        """The first so many documents are those of earlier runs."""
        self.was_kept = np.zeros(0, np.bool_)
        """bool [known]: whether an earlier run kept it"""
        self._ids: list[pa.Array] = []
        self._columns: dict[str, list[npt.NDArray[Any]]] = {
            name: [] for name in ("source", "length", "digest", "url", "removed", "stored")
        }
        self.sources: list[str] = []
        self._table = _new_table(1 << 12)
        self._distinct = 0

    def add(self, ids: pa.Array, sources: pa.Array, urls: Hashes, removed: Codes, signed: Signed) -> None:
        """Append the documents of a batch; `removed` is 0 or 1 + the number of the kind of tombstone: int8 [batch]."""
        while 2 * (self._distinct + len(ids)) > len(self._table):
            self._table = _grown(self._table)
        present = signed.digests.any(axis=1) & (removed == 0)
        stored, new = _places(self._table, signed.digests, present, self._distinct)
        if signed.signatures:
            self.store.append(signed.signatures if new.all() else signed.signatures.take(np.flatnonzero(new)))
        self._distinct += int(new.sum())
        named = sources.dictionary_encode()
        for name in named.dictionary.to_pylist():
            if name not in self.sources:
                self.sources.append(name)
        codes = np.array([self.sources.index(name) for name in named.dictionary.to_pylist()], np.int32)
        self._append(
            ids,
            source=codes[named.indices.to_numpy()],
            length=signed.lengths,
            digest=signed.digests,
            url=urls,
            removed=removed,
            stored=stored,
        )

    def finish(self) -> "Corpus":
        """Make one array of each column."""
        self.ids = pa.concat_arrays(self._ids) if self._ids else pa.array([], pa.string())
        empty: dict[str, npt.NDArray[Any]] = {"digest": np.zeros((0, 2), np.uint64), "url": np.zeros(0, np.uint64)}
        joined = {
            name: np.concatenate(parts) if parts else empty.get(name, np.zeros(0, np.int64))
            for name, parts in self._columns.items()
        }
        self._ids, self._columns = [], {}
        self.source, self.length, self.digest = joined["source"], joined["length"], joined["digest"]
        self.url, self.removed, self.stored = joined["url"], joined["removed"], joined["stored"]
        return self

    def __len__(self) -> int:
        return len(self.ids)

    def ranks(self) -> Numbers:
        """Place of each document in the order of ids: int64 [documents]."""
        order = pc.sort_indices(self.ids).to_numpy()
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        return ranks

    def load(self, folder: Path) -> None:
        """Begin with the documents of an earlier run's store (call before any `add`, on a copy of its files)."""
        file = pq.ParquetFile(folder / "facts.parquet")
        kept = [np.zeros(0, np.bool_)]
        for batch in file.iter_batches():
            digest = np.frombuffer(batch.column("digest").buffers()[1], np.uint64)
            digest = digest.reshape(-1, 2)[batch.column("digest").offset :][: batch.num_rows]
            stored = batch.column("stored").to_numpy()
            self._append(
                batch.column("id"),
                source=np.zeros(batch.num_rows, np.int32),
                length=batch.column("length").to_numpy(),
                digest=digest,
                url=batch.column("url").to_numpy(),
                removed=np.zeros(batch.num_rows, np.int8),
                stored=stored,
            )
            kept.append(batch.column("kept").to_numpy(zero_copy_only=False))
            while 2 * (self._distinct + batch.num_rows) > len(self._table):
                self._table = _grown(self._table)
            _insert(self._table, digest, stored)
            self._distinct = max(self._distinct, int(stored.max(initial=-1)) + 1)
            self.known += batch.num_rows
        self.was_kept = np.concatenate(kept)
        self.sources = [""]

    def save(self, folder: Path, near: Near, kept: npt.NDArray[np.bool_]) -> None:
        """Write the facts beside the signatures; documents without words and removed ones are left out."""
        with pq.ParquetWriter(folder / "facts.parquet", SCHEMA, compression="zstd") as writer:
            for start in range(0, len(self), 1 << 16):
                rows = start + np.flatnonzero(self.stored[start : start + (1 << 16)] >= 0)
                columns = [
                    self.ids.take(pa.array(rows)),
                    self.length[rows],
                    pa.FixedSizeBinaryArray.from_buffers(
                        pa.binary(16), len(rows), [None, pa.py_buffer(np.ascontiguousarray(self.digest[rows]))]
                    ),
                    self.url[rows],
                    self.stored[rows],
                    kept[rows],
                ]
                writer.write_table(pa.table([pa.array(column) for column in columns], schema=SCHEMA))
        write_json(folder / "near.json", near._asdict())

    def _append(self, ids: pa.Array, **columns: npt.NDArray[Any]) -> None:
        self._ids.append(ids)
        for name, values in columns.items():
            self._columns[name].append(values)


def copy_store(known: Path, folder: Path, near: Near) -> None:
    """Copy the signatures of an earlier run's store to `folder`, to be continued there.

    Raises UserError where there is none, or where it was made under other params.
    """
    made = read_json(known / "near.json")
    if made != near._asdict():
        differing = [
            f"{name} {made.get(name)} there, {value} here"
            for name, value in near._asdict().items()
            if made.get(name) != value
        ]
        raise UserError(f"{known}: its signatures were made under other params ({'; '.join(differing)})")
    for name in FILES:
        shutil.copyfile(known / name, folder / name)


def _new_table(slots: int) -> Hashes:
    """An open-addressing table of digests: uint64 [slots, 3], digest and place + 1 (0: free)."""
    return np.zeros((slots, 3), np.uint64)


@numba.njit(cache=True)
def _slot(table: Hashes, first: np.uint64, second: np.uint64) -> int:
    mask = np.uint64(len(table) - 1)
    slot = first & mask
    while table[slot, 2] != 0 and (table[slot, 0] != first or table[slot, 1] != second):
        slot = (slot + np.uint64(1)) & mask
    return int(slot)


@numba.njit(cache=True)
def _insert(table: Hashes, digests: Hashes, places: Numbers) -> None:
    for row in range(len(digests)):
        slot = _slot(table, digests[row, 0], digests[row, 1])
        table[slot, 0], table[slot, 1], table[slot, 2] = digests[row, 0], digests[row, 1], np.uint64(places[row] + 1)


@numba.njit(cache=True)
def _grown(table: Hashes) -> Hashes:
    larger = np.zeros((2 * len(table), 3), np.uint64)
    for row in range(len(table)):
        if table[row, 2] != 0:
            larger[_slot(larger, table[row, 0], table[row, 1])] = table[row]
    return larger


@numba.njit(cache=True)
def _places(
    table: Hashes, digests: Hashes, present: npt.NDArray[np.bool_], count: int
) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """Place of each digest (-1 where not `present`), and whether it is new: then it gets the next place."""
    places = np.full(len(digests), -1, np.int64)
    new = np.zeros(len(digests), np.bool_)
    for row in range(len(digests)):
        if present[row]:
            slot = _slot(table, digests[row, 0], digests[row, 1])
            if table[slot, 2] == 0:
                table[slot, 0], table[slot, 1] = digests[row, 0], digests[row, 1]
                table[slot, 2] = np.uint64(count + 1)
                count += 1
                new[row] = True
            places[row] = np.int64(table[slot, 2]) - 1
    return places, new
