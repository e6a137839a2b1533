"""The document: its schema, its shards, and the stages' readers and writers.

Documents travel between stages as zstd Parquet shards of about 128 MB with the columns
of `SCHEMA`. `id` is stable: a hash of the source's name and of the source's own key, so
that it survives every stage down to the training batch. At the edges the same reader
opens JSONL, JSONL.gz and JSONL.zst with at least a `text` field.

A document stage's output folder holds `documents/*.parquet` (what was kept),
`ledger/*.parquet` (a verdict on every document, see `llm_core.formats.ledger`) and `metrics.json`.
"""

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pa_json
import pyarrow.parquet as pq
from fsspec.core import url_to_fs

from llm_core.errors import UserError
from llm_core.formats.parquet import open_parquet
from llm_core.runtime.digests import short_hash
from llm_core.runtime.json_lines import read_lines
from llm_core.runtime.storage import list_files

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # 32 hexadecimal digits where we make it, else the file's own
        pa.field("source", pa.string(), nullable=False),  # the key under `sources:` in params.yaml
        pa.field("url", pa.string()),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("language", pa.string()),  # ISO 639-1, None where nobody has looked
        pa.field("license", pa.string()),  # SPDX id or "public-domain"
        pa.field("created", pa.string()),  # ISO 8601 date or time
        pa.field("metadata", pa.string()),  # a JSON object
    ]
)
Paths = str | Path | Iterable[str | Path]  # files and folders
COLUMNS = frozenset(SCHEMA.names)
PLAIN = [name for name in SCHEMA.names if name != "metadata"]
ENDINGS = (".parquet", ".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
SHARD_BYTES = 128 << 20  # of text, before compression
LEDGER_ROW_BYTES = 64  # what a row without text counts for
REPEATED = ("source", "language", "license", "stage", "verdict", "reason", "shard")  # columns worth a dictionary
BATCH_ROWS = 1024
PAGE_ROWS = 64  # how often the writer looks whether a page is full; a page is held three times while it is compressed
BATCH_BYTES = 32 << 20


def document_id(source: str, key: str) -> str:
    """Stable id of a document: a 128-bit hash of its source's name and its key there."""
    return short_hash(source, key)


def document_files(paths: Paths) -> list[str]:
    """Every document file at `paths` (files and folders), in a stable order.

    A stage's output folder stands for its `documents/` folder: the ledger beside it is skipped.
    Raises UserError where a path is missing or holds no document file.
    """
    if isinstance(paths, str | Path):
        paths = [paths]
    files: list[str] = []
    for path in paths:
        filesystem, root = url_to_fs(str(path))
        inner = f"{str(path).rstrip('/')}/documents"
        place = inner if filesystem.isdir(f"{root.rstrip('/')}/documents") else path
        found = list_files(place, ENDINGS)
        if not found:
            raise UserError(f"{path}: holds no documents ({', '.join(ENDINGS)})")
        files.extend(found)
    return files


def read_batches(
    file: str | Path, columns: Sequence[str] | None = None, batch_bytes: int = BATCH_BYTES
) -> Iterator[pa.RecordBatch]:
    """Stream one document file as record batches of about `batch_bytes` at most, in the order of its rows.

    Parquet files keep their own extra columns out; JSONL fields that `SCHEMA` does not
    name go into `metadata`. `columns` limits what is read (Parquet reads only those).
    Raises UserError, with file and line, on a file that is not what its name says.
    """
    wanted = list(columns) if columns else SCHEMA.names
    if str(file).endswith(".parquet"):
        yield from _read_parquet(str(file), wanted, batch_bytes)
    else:
        yield from _read_jsonl(str(file), wanted, batch_bytes)


def read_documents(paths: Paths, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Stream the documents of files and folders, file by file in a stable order."""
    for _, _, batch in read_numbered_batches(paths, columns):
        yield batch


def read_numbered_batches(
    paths: Paths, columns: Sequence[str] | None = None, batch_bytes: int = BATCH_BYTES
) -> Iterator[tuple[str, int, pa.RecordBatch]]:
    """Stream (file, number of the batch's first row in it, batch) of every document, in a stable order."""
    for file in document_files(paths):
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
        if not file.endswith(".parquet"):
            return None
        with open_parquet(file) as parquet:
            total += parquet.metadata.num_rows
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
        start = 0
        for row, (size, ends) in enumerate(zip(*self._boundaries(batch), strict=True)):
            self._pending_bytes += size
            self._pending_rows += 1
            self._shard_size += size
            full = self._shard_size * 2 >= self.shard_bytes and (ends or self._shard_size >= 2 * self.shard_bytes)
            if full or self._pending_rows >= BATCH_ROWS or self._pending_bytes >= BATCH_BYTES:
                self._pending.append(batch.slice(start, row + 1 - start))
                self._flush()
                start = row + 1
            if full:
                self._close_shard()
        if start < batch.num_rows:
            self._pending.append(batch.slice(start))

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

    def _boundaries(self, batch: pa.RecordBatch) -> tuple[list[int], list[bool]]:
        """Each row's size in bytes, and whether a shard past half its size may end behind it."""
        if "text" in self.schema.names:
            sizes = pc.binary_length(batch.column("text")).fill_null(0).to_pylist()
        else:
            sizes = [LEDGER_ROW_BYTES] * batch.num_rows
        ids = batch.column("id").to_pylist()
        # A boundary is as likely as the document is large, so that shards average `shard_bytes`.
        return sizes, [
            zlib.crc32(name.encode()) * self.shard_bytes < size << 33 for name, size in zip(ids, sizes, strict=True)
        ]

    def _flush(self) -> None:
        if not self._pending:
            return
        table = pa.Table.from_batches(self._pending).select(self.schema.names).cast(self.schema)
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


def _read_parquet(file: str, wanted: list[str], batch_bytes: int) -> Iterator[pa.RecordBatch]:
    with open_parquet(file) as parquet:
        present = set(parquet.schema_arrow.names)
        if "text" in wanted and "text" not in present:
            raise UserError(f"{file}: has no column 'text' (it has {', '.join(sorted(present))})")
        position = 0
        for batch in parquet.iter_batches(
            _rows_of(parquet.metadata, batch_bytes), columns=[name for name in wanted if name in present]
        ):
            yield complete(batch, wanted, file, position)
            position += batch.num_rows


def _rows_of(footer: pq.FileMetaData, batch_bytes: int) -> int:
    """Rows of `footer`'s file that hold about `batch_bytes`, by the average of its largest row group."""
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    largest = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1.0)
    return max(1, min(BATCH_ROWS, int(batch_bytes / max(largest, 1.0))))


def complete(batch: pa.RecordBatch, wanted: list[str], file: str, position: int) -> pa.RecordBatch:
    """Bring a Parquet batch to the schema: missing columns filled, types cast."""
    columns = []
    for name in wanted:
        field = SCHEMA.field(name)
        if name in batch.schema.names:
            columns.append(batch.column(name).cast(field.type))
        elif name == "id":
            stem = Path(file).name
            columns.append(pa.array([document_id(stem, str(position + row)) for row in range(batch.num_rows)]))
        elif name == "source":
            columns.append(pa.array([Path(file).name.split(".")[0]] * batch.num_rows))
        else:
            columns.append(pa.nulls(batch.num_rows, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema([SCHEMA.field(name) for name in wanted]))


def _read_jsonl(file: str, wanted: list[str], batch_bytes: int) -> Iterator[pa.RecordBatch]:
    plain = True
    for first, lines in _blocks_of_lines(file, batch_bytes):
        batch = _plain_batch(lines, first, file, wanted) if plain else None
        if batch is None:
            plain = False  # a file with one odd line has more of them
            batch = _parsed_batch(lines, first, file, wanted)
        if batch.num_rows:
            yield batch


def _blocks_of_lines(file: str, block_bytes: int) -> Iterator[tuple[int, list[bytes]]]:
    """(number of the first, counted from 1; the lines) of every `BATCH_ROWS` lines or about `block_bytes`."""
    lines: list[bytes] = []
    first, size = 1, 0
    for line in read_lines(file):
        lines.append(line)
        size += len(line)
        if size >= block_bytes or len(lines) >= BATCH_ROWS:
            yield first, lines
            first, lines, size = first + len(lines), [], 0
    if lines:
        yield first, lines


def _parsed_batch(lines: list[bytes], first: int, file: str, wanted: list[str]) -> pa.RecordBatch:
    """The documents of some lines, each parsed by itself; blank lines hold none."""
    rows = [parse_line(line, file, number, wanted) for number, line in enumerate(lines, first) if line.strip()]
    schema = pa.schema([SCHEMA.field(name) for name in wanted])
    return pa.RecordBatch.from_arrays(
        [pa.array([row.get(field.name) for row in rows], field.type) for field in schema], schema=schema
    )


def _plain_batch(lines: list[bytes], first: int, file: str, wanted: list[str]) -> pa.RecordBatch | None:
    """The same by Arrow's parser, several times as fast, or None where it might say something else.

    It takes whole objects, one a line, of valid UTF-8, with nothing but strings in the fields of `SCHEMA` and, where
    `metadata` is wanted, no other field.
    """
    block = b"".join(lines)
    others = "metadata" in wanted
    names = PLAIN if others else ["text", *(name for name in wanted if name != "text")]
    try:
        found = pa_json.read_json(
            pa.BufferReader(block),
            pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
            pa_json.ParseOptions(
                explicit_schema=pa.schema([(name, SCHEMA.field(name).type) for name in names]),
                unexpected_field_behavior="infer" if others else "ignore",
            ),
        )
        found.validate(full=True)
    except pa.ArrowInvalid:
        return None
    one_a_line = block.count(b"}\n{") == len(lines) - 1 and found.num_rows == len(lines)
    if not one_a_line or found.num_columns > len(names) or found["text"].null_count:
        return None
    columns = {name: found[name].combine_chunks() for name in names}
    stem = file.rpartition("/")[2]
    if "source" in columns:
        columns["source"] = columns["source"].fill_null(stem.split(".")[0])
    if "id" in columns and columns["id"].null_count:
        ids = enumerate(columns["id"].to_pylist(), first)
        columns["id"] = pa.array([document_id(stem, str(number)) if key is None else key for number, key in ids])
    columns["metadata"] = pa.nulls(len(lines), pa.string())
    schema = pa.schema([SCHEMA.field(name) for name in wanted])
    return pa.RecordBatch.from_arrays([columns[name] for name in wanted], schema=schema)


def parse_line(line: bytes, file: str, number: int, wanted: Sequence[str] = SCHEMA.names) -> dict[str, Any]:
    """The document in a line of JSONL, with at least the columns `wanted` that it has.

    Raises UserError where the line is no JSON object with a text.
    """
    try:
        row = orjson.loads(line)
    except ValueError:
        row = _lenient(line, file, number)
    if type(row) is not dict or type(row.get("text")) is not str:
        raise UserError(f"{file}:{number}: a JSON object with a string field 'text' is needed")
    if type(row.get("id")) is float:  # an integer of more than 64 bits, which orjson rounds
        row = _lenient(line, file, number)
    document = {key: None if value is None else str(value) for key, value in row.items() if key in COLUMNS}
    if "metadata" in wanted and (len(document) < len(row) or document.get("metadata") is not None):
        document["metadata"] = _metadata(_lenient(line, file, number))
    if row.get("id") is None:
        document["id"] = document_id(file.rpartition("/")[2], str(number))
    if row.get("source") is None:
        document["source"] = file.rpartition("/")[2].split(".")[0]
    return document


def _lenient(line: bytes, file: str, number: int) -> Any:
    """Python's own parser: slower, but exact on large integers, and takes NaN and halves of surrogate pairs."""
    try:
        return json.loads(line)
    except ValueError as error:
        raise UserError(f"{file}:{number}: not valid JSON ({error})") from None


def _metadata(row: dict[str, Any]) -> str | None:
    extra = {key: value for key, value in row.items() if key not in COLUMNS}
    metadata = row.get("metadata")
    if isinstance(metadata, dict):
        extra |= metadata
    elif isinstance(metadata, str):
        try:
            extra |= json.loads(metadata)
        except (ValueError, TypeError):
            extra["metadata"] = metadata
    return json.dumps(extra, sort_keys=True, ensure_ascii=False) if extra else None
