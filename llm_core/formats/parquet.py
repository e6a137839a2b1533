"""Reading Parquet files in bounded memory, hostile ones too.

A few kilobytes of Parquet can ask for gigabytes: one long string in a dictionary, named by every row, or one page that
inflates a thousand times. So string columns that use a dictionary are read as such (a batch then holds each string
once), batches are cut where their decoded bytes reach a bound, and a file whose decoded bytes exceed its size more than
`MAX_RATIO` times is refused. Every fault of a file is a BrokenInputError (a UserError) that names it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llm_core.formats.parquet_footer import check_pages, row_groups
from llm_core.runtime.inputs import MAX_RATIO, RATIO_COUNTS_FROM, BrokenInputError, open_unchanged
from llm_core.runtime.manifests import find_shard
from llm_core.runtime.storage import is_remote

READ_BYTES = 1 << 20
BATCH_ROWS = 1024
BATCH_BYTES = 32 << 20
MAX_ROW_BYTES = 64 << 20  # decoded; a longer row is no document
ROW_BYTES = 64  # what a row counts for at the minimum, so that a billion empty rows are no small file
ITEM_BYTES = 8  # the same for a value of a list
STRINGS = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)


@contextmanager
def open_parquet(
    file: str | Path, dictionaries: bool = False, groups: Sequence[int] | None = None
) -> Iterator[pq.ParquetFile]:
    """The Parquet file at a path or address; with `dictionaries`, string columns that use one are read as such.

    With them, as for every file that may come from elsewhere, a local file's pages are checked by their headers, those
    of `groups` alone where no other row groups are read.
    Raises BrokenInputError where it cannot be read, in the block too.
    Arrow's default holds the compressed bytes of all row groups asked for; a local file needs no reading ahead.
    """
    local = not is_remote(file)
    settings: dict[str, Any] = {"pre_buffer": not local, "buffer_size": READ_BYTES if local else 0}
    try:
        with open_unchanged(file) as stream:
            parquet = pq.ParquetFile(stream, **settings)
            if local and dictionaries:
                check_pages(stream, parquet.metadata, groups)
            columns = _dictionary_columns(parquet) if dictionaries else []
            if columns:
                parquet = pq.ParquetFile(stream, metadata=parquet.metadata, read_dictionary=columns, **settings)
            yield parquet
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise BrokenInputError("quarantine_parquet", f"{file}: cannot be read as Parquet ({first[:300]})") from None


def read_footer(file: str | Path) -> pq.FileMetaData:
    """The footer of a Parquet file; of a shard on object storage the footer alone is read, not the shard.

    It is not compared with a digest: whoever reads rows by it reads the checked shard. Raises BrokenInputError.
    """
    shard = None if is_remote(file) or Path(file).exists() else find_shard(file)
    with open_parquet(shard.address if shard else file) as parquet:
        return parquet.metadata


class Inflation:
    """Holds a file's decoded bytes against its size; beyond `max_ratio` times (and 64 MB) it is a bomb."""

    def __init__(self, file: str, size: int, max_ratio: float = MAX_RATIO) -> None:
        self.file, self.size, self.max_ratio, self.decoded = file, size, max_ratio, 0

    def add(self, decoded: int) -> None:
        """Count decoded bytes. Raises BrokenInputError beyond the bound."""
        self.decoded += decoded
        if self.decoded > RATIO_COUNTS_FROM and self.decoded > self.max_ratio * self.size:
            raise BrokenInputError(
                "quarantine_decompression_bomb",
                f"{self.file}: {self.size} bytes become {self.decoded} or more; the limit is {self.max_ratio:g} times; "
                "if the file is sound, write it again without compression",
            )


def check_footer(parquet: pq.ParquetFile, file: str, max_ratio: float = MAX_RATIO) -> Inflation:
    """Check what the footer promises before anything is decoded; the guard for what is decoded afterwards.

    Raises BrokenInputError: two columns of one name, or pages that inflate too much.
    """
    repeated = [name for name, count in Counter(parquet.schema_arrow.names).items() if count > 1]
    if repeated:
        raise BrokenInputError(
            "quarantine_repeated_column", f"{file}: has more than one column '{repeated[0]}'; rename or remove one"
        )
    footer, groups = parquet.metadata, row_groups(parquet.metadata)
    compressed = sum(chunk.compressed for group in groups for chunk in group.columns)
    size = max(compressed + footer.serialized_size, 1)
    pages = Inflation(file, size, max_ratio)
    pages.add(sum(max(group.decoded, 0) for group in groups))
    pages.decoded = 0
    pages.add(max(footer.num_rows, sum(group.rows for group in groups)))  # a row takes a byte somewhere
    return Inflation(file, size, max_ratio)


class TooLarge(int):
    """Stands for a row of more bytes than may be held: its decoded length."""


def bounded_batches(parquet: pq.ParquetFile, file: str, *arguments: Any, **settings: Any) -> Iterator[pa.RecordBatch]:
    """As `batches_or_too_large`. Raises BrokenInputError at a row that is too large, too."""
    row = 0
    for batch in batches_or_too_large(parquet, file, *arguments, **settings):
        if isinstance(batch, TooLarge):
            raise BrokenInputError(
                "quarantine_too_large", f"{file}: row {row} has {batch} bytes; at most {MAX_ROW_BYTES} are read"
            )
        yield batch
        row += batch.num_rows


def batches_or_too_large(
    parquet: pq.ParquetFile,
    file: str,
    columns: Sequence[str] | None = None,
    groups: Sequence[int] | None = None,
    max_rows: int = BATCH_ROWS,
    batch_bytes: int = BATCH_BYTES,
    guard: Inflation | None = None,
    max_row_bytes: int = MAX_ROW_BYTES,
) -> Iterator[pa.RecordBatch | TooLarge]:
    """Stream record batches of at most `max_rows` rows and about `batch_bytes` decoded bytes.

    A row of more than `max_row_bytes` is replaced by a TooLarge. `parquet` was opened with `dictionaries`.
    Raises BrokenInputError at a decompression bomb.
    """
    guard = guard or check_footer(parquet, file)
    rows = min(max_rows, rows_within(parquet.metadata, batch_bytes))
    for batch in parquet.iter_batches(rows, row_groups=groups, columns=list(columns) if columns is not None else None):
        sizes = np.full(batch.num_rows, ROW_BYTES, np.int64)
        for column in batch.columns:
            sizes += _row_bytes(column)
        guard.add(int(sizes.sum()))
        ends = np.cumsum(sizes)
        start = 0
        while start < batch.num_rows:
            if sizes[start] > max_row_bytes:
                yield TooLarge(sizes[start])
                start += 1
                continue
            before = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, before + batch_bytes, side="right")))
            larger = np.flatnonzero(sizes[start:stop] > max_row_bytes)
            stop = start + int(larger[0]) if len(larger) else stop
            yield _decoded(batch.slice(start, stop - start))
            start = stop


def column_values(column: pa.Array) -> list[Any]:
    """A column's values as Python has them, also where Python cannot hold them all.

    Bytes of a string that are not UTF-8 (Parquet does not check) become halves of surrogate pairs; dates and times out
    of Python's range become what Arrow writes for them. Raises ValueError where such values are nested.
    """
    try:
        return column.to_pylist()  # type: ignore[no-any-return]
    except UnicodeDecodeError:
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            raise
        values = column.cast(pa.large_binary()).to_pylist()
        return [value and value.decode("utf-8", "surrogateescape") for value in values]
    except (ValueError, OverflowError) as error:
        try:
            return column.cast(pa.string()).to_pylist()  # type: ignore[no-any-return]
        except pa.ArrowException:
            raise ValueError(f"values of type {column.type} that cannot be read ({error})") from None


def rows_within(footer: pq.FileMetaData, batch_bytes: int) -> int:
    """Rows of `footer`'s file that hold about `batch_bytes`, by the average of its largest row group."""
    largest = max((group.decoded / max(group.rows, 1) for group in row_groups(footer)), default=1.0)
    return max(1, min(BATCH_ROWS, int(batch_bytes / max(largest, 1.0))))


def _decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with its columns of strings as plain strings."""
    if not any(pa.types.is_dictionary(column.type) for column in batch.columns):
        return batch
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _row_bytes(column: pa.Array) -> np.ndarray:
    """Decoded bytes of each row of a column: of strings their lengths, wherever they are nested; 0 for nulls."""
    kind = column.type
    if not len(column):
        return np.zeros(0, np.int64)
    if any(is_kind(kind) for is_kind in STRINGS):
        return np.asarray(pc.binary_length(column).fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    if pa.types.is_dictionary(kind):
        known = _row_bytes(column.dictionary)
        there = column.indices.is_valid().to_numpy(zero_copy_only=False)
        places = column.indices.fill_null(0).to_numpy(zero_copy_only=False)
        named = places[there]
        if len(named) and (named.min() < 0 or named.max() >= len(known)):  # Arrow does not look, and reads beyond
            raise pa.ArrowInvalid("a row names a place outside the column's dictionary")
        sizes = np.zeros(len(column), np.int64)
        sizes[there] = known[named]
        return sizes
    if pa.types.is_struct(kind):
        fields = [_row_bytes(field) for field in column.flatten()]
        return np.asarray(sum(fields, np.zeros(len(column), np.int64)), np.int64)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        ends = np.concatenate(([0], np.cumsum(ITEM_BYTES + _row_bytes(column.values))))
        offsets = column.offsets.to_numpy(zero_copy_only=False)
        return np.asarray(np.diff(ends[offsets]), np.int64)
    if pa.types.is_map(kind):
        ends = np.concatenate(([0], np.cumsum(ITEM_BYTES + _row_bytes(column.keys) + _row_bytes(column.items))))
        return np.asarray(np.diff(ends[column.offsets.to_numpy(zero_copy_only=False)]), np.int64)
    return np.full(len(column), column.nbytes // len(column), np.int64)


def _dictionary_columns(parquet: pq.ParquetFile) -> list[int]:
    """Numbers of the string columns, nested ones too, of which some column chunk uses a dictionary.

    By their names it would be `metadata.schema`, which keeps the footer (up to some MB) in memory until Python looks
    for objects that refer to each other.
    """
    groups = row_groups(parquet.metadata)
    return [
        number
        for number in range(parquet.metadata.num_columns)
        if any(group.columns[number].dictionary and group.columns[number].strings for group in groups)
    ]
