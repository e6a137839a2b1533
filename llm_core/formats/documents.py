"""The document: its schema, its shards, and the stages' readers and writers.

Documents travel between stages as zstd Parquet shards of about 128 MB with the columns
of `SCHEMA`. `id` is stable: a hash of the source's name and of the source's own key, so
that it survives every stage down to the training batch. At the edges the same reader
opens JSON lines, plain or compressed, with at least a `text` field.

A document stage's output folder holds `documents/*.parquet` (what was kept),
`ledger/*.parquet` (a verdict on every document, see `llm_core.formats.ledger`) and `metrics.json`.
"""

import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llm_core.errors import UserError
from llm_core.formats.document_lines import read_json_lines
from llm_core.formats.document_tables import read_parquet
from llm_core.formats.parquet import read_footer
from llm_core.formats.schema import COLUMNS, SCHEMA, document_id
from llm_core.runtime.inputs import COMPRESSED
from llm_core.runtime.manifests import find_shard
from llm_core.runtime.storage import fetched_ahead, is_folder, is_remote, list_files

__all__ = ["COLUMNS", "SCHEMA", "document_id"]  # of `schema`, for those who import them from here
Paths = str | Path | Iterable[str | Path]  # files and folders
JSON_LINES = tuple(name + end for name in (".jsonl", ".json", ".ndjson") for end in ("", *COMPRESSED))
ENDINGS = (".parquet", *JSON_LINES)
SHARD_BYTES = 128 << 20  # of text, before compression
LEDGER_ROW_BYTES = 64  # what a row without text counts for
REPEATED = ("source", "language", "license", "stage", "verdict", "reason", "shard")  # columns worth a dictionary
BATCH_ROWS = 1024
PAGE_ROWS = 64  # how often the writer looks whether a page is full; a page is held three times while it is compressed
BATCH_BYTES = 32 << 20


def document_files(paths: Paths) -> list[str]:
    """Every document file at `paths` (files and folders), in a stable order.

    Of the output folder of a stage, only `documents/` is read: the ledger beside it is skipped.
    Raises UserError where a path is missing or holds no document file.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    files: list[str] = []
    for path in paths:
        inner = f"{str(path).rstrip('/')}/documents"
        place = inner if is_folder(inner) else path
        found = list_files(place, ENDINGS)
        if not found:
            raise UserError(f"{path}: holds no documents ({', '.join(ENDINGS)})")
        files.extend(found)
    return files


@contextmanager
def unchanged(paths: Paths) -> Iterator[None]:
    """Hold a stage that reads the documents at `paths` in several passes to the same files in each.

    What one pass decides of row 7 another does with row 7, whatever document that is by then. Raises UserError at the
    end of the block, and in place of an error in it, where a file was written, added or removed meanwhile.
    """
    before = _states(paths)
    try:
        yield
    except Exception:
        _require_same(paths, before)
        raise
    _require_same(paths, before)


def _require_same(paths: Paths, before: dict[str, tuple[object, ...]]) -> None:
    try:
        after = _states(paths)
    except (UserError, OSError):
        after = {}
    if after != before:
        changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        raise UserError(f"{changed[0]}: was changed while it was read in several passes; run again when it is complete")


def _states(paths: Paths) -> dict[str, tuple[object, ...]]:
    """File -> by what a change of it is seen: of a shard on object storage its digest, of other addresses nothing."""
    found: dict[str, tuple[object, ...]] = {}
    for file in document_files(paths):
        if shard := find_shard(file):
            found[file] = (shard.sha256,)
        elif is_remote(file):
            found[file] = ()
        else:
            state = Path(file).stat()
            found[file] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return found


def read_batches(
    file: str | Path, columns: Sequence[str] | None = None, batch_bytes: int = BATCH_BYTES
) -> Iterator[pa.RecordBatch]:
    """Stream one document file as record batches of about `batch_bytes` at most, in the order of its rows.

    Parquet files keep their own extra columns out; JSONL fields that `SCHEMA` does not
    name go into `metadata`. `columns` limits what is read (Parquet reads only those).
    Raises UserError, with file and line, on a file that is not what its name says.
    """
    wanted = list(columns) if columns else SCHEMA.names
    if str(file).lower().endswith(".parquet"):
        yield from read_parquet(str(file), wanted, batch_bytes)
    else:
        yield from read_json_lines(str(file), wanted, batch_bytes)


def read_documents(paths: Paths, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Stream the documents of files and folders, file by file in a stable order."""
    for _, _, batch in read_numbered_batches(paths, columns):
        yield batch


def read_numbered_batches(
    paths: Paths, columns: Sequence[str] | None = None, batch_bytes: int = BATCH_BYTES
) -> Iterator[tuple[str, int, pa.RecordBatch]]:
    """Stream (file, number of the batch's first row in it, batch) of every document, in a stable order."""
    for file in fetched_ahead(document_files(paths)):
        offset = 0
        for batch in read_batches(file, columns, batch_bytes):
            yield file, offset, batch
            offset += batch.num_rows


def count_documents(paths: Paths) -> int | None:
    """Number of documents at `paths` by the Parquet footers; None when a file is of another kind.

    Raises UserError where a footer cannot be read.
    """
    total = 0
    for file in document_files(paths):
        if not file.lower().endswith(".parquet"):
            return None
        total += read_footer(file).num_rows
    return total


def require_documents(count: int, paths: Iterable[str | Path]) -> None:
    """Raise UserError for a stage that was given no document at all."""
    if not count:
        raise UserError(f"{', '.join(map(str, paths))}: no documents in these files")


class DocumentWriter:
    """Writes record batches of `SCHEMA` as numbered zstd Parquet shards into a folder.

    Row order is kept and the same rows give the same bytes, however they were batched.
    Where a shard ends is decided by the documents themselves: from half of `shard_bytes`
    on, the first document whose hashed id says so is the last of its shard (content-defined
    chunking). So taking one document out changes its own shard, and at most the next one,
    and leaves every other file as it was, which makes takedowns cheap.

    Use as a context manager inside `storage.output_folder`. An empty input writes one
    empty shard, so that readers find a schema.
    """

    def __init__(self, folder: str | Path, shard_bytes: int = SHARD_BYTES, schema: pa.Schema = SCHEMA) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.shard_bytes = shard_bytes
        self.schema = schema
        self.rows = 0
        self.shards = 0
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._pending_bytes = self._shard_size = 0
        self._writer: pq.ParquetWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Append `batch`; its columns must be those of the schema."""
        sizes = self._sizes(batch)
        total = np.cumsum(sizes)
        ends: npt.NDArray[np.bool_] | None = None
        start, before = 0, 0
        while start < batch.num_rows:
            last = start + BATCH_ROWS - self._pending_rows - 1  # the row at which the row group is full
            last = min(last, _reached(total, before + BATCH_BYTES - self._pending_bytes, start))
            half = _reached(total, before + (self.shard_bytes + 1) // 2 - self._shard_size, start)
            full = False
            if half <= min(last, batch.num_rows - 1):
                ends = self._ends(batch, sizes) if ends is None else ends
                marked = half + np.flatnonzero(ends[half : last + 1])[:1]
                first = min(
                    [_reached(total, before + 2 * self.shard_bytes - self._shard_size, start), *marked.tolist()]
                )
                last, full = min(first, last), first <= min(last, batch.num_rows - 1)
            stop = min(last + 1, batch.num_rows)
            size = int(total[stop - 1]) - before
            self._pending.append(batch.slice(start, stop - start))
            self._pending_rows += stop - start
            self._pending_bytes += size
            self._shard_size += size
            if last < batch.num_rows:
                self._flush()
            if full:
                self._close_shard()
            start, before = stop, before + size

    def write_rows(self, rows: list[dict[str, Any]]) -> None:
        """Append plain dictionaries (missing columns become null)."""
        if rows:
            self.write(pa.RecordBatch.from_pylist(rows, schema=self.schema))

    def close(self) -> None:
        """Write what is pending and close the last shard."""
        self._flush()
        if self.shards == 0:
            self._open_shard()
        self._close_shard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self.close()
        elif self._writer:
            self._writer.close()

    def _sizes(self, batch: pa.RecordBatch) -> npt.NDArray[np.int64]:
        """Each row's size in bytes: int64 [rows]."""
        if "text" in self.schema.names:
            return np.asarray(pc.binary_length(batch.column("text")).fill_null(0), np.int64)
        return np.full(batch.num_rows, LEDGER_ROW_BYTES, np.int64)

    def _ends(self, batch: pa.RecordBatch, sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether a shard past half its size may end behind each row: bool [rows].

        A boundary is as likely as the document is large, so that shards average `shard_bytes`.
        """
        rows = zip(batch.column("id").to_pylist(), sizes.tolist(), strict=True)
        marks = (zlib.crc32(name.encode()) * self.shard_bytes < size << 33 for name, size in rows)
        return np.fromiter(marks, np.bool_, batch.num_rows)

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending).select(self.schema.names).cast(self.schema)
        table = table.combine_chunks()  # a page ends with a chunk: the bytes would depend on how rows were batched
        writer = self._writer or self._open_shard()
        writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self.rows += table.num_rows
        self._pending, self._pending_rows, self._pending_bytes = [], 0, 0

    def _open_shard(self) -> pq.ParquetWriter:
        path = self.folder / f"{self.shards:05d}.parquet"
        repeated = [name for name in self.schema.names if name in REPEATED]
        self._writer = pq.ParquetWriter(
            path, self.schema, compression="zstd", use_dictionary=repeated, write_batch_size=PAGE_ROWS
        )
        self.shards += 1
        return self._writer

    def _close_shard(self) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None
        self._shard_size = 0


def _reached(total: npt.NDArray[np.int64], size: int, start: int) -> int:
    """The first row from `start` on whose running total (int64 [rows]) is `size` or more; for none their number."""
    return max(start, int(np.searchsorted(total, size)))
