"""Documents in Parquet files of any maker, brought to the schema of documents."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from llm_core.errors import UserError
from llm_core.formats.parquet import BATCH_ROWS, STRINGS, bounded_batches, column_values, open_parquet
from llm_core.formats.schema import SCHEMA, as_text, row_id, source_of
from llm_core.runtime.inputs import BrokenInputError


def read_parquet(
    file: str, wanted: list[str], batch_bytes: int, groups: Sequence[int] | None = None, row: int = 0
) -> Iterator[pa.RecordBatch]:
    """Stream the documents of a Parquet file with the columns `wanted`; other columns of the file are not read.

    `groups` are the numbers of the row groups to read (default: all), and `row` that of their first row in the file.
    Raises UserError: no column of texts, a row without a text, bytes that are not UTF-8, a file that cannot be read.
    """
    with open_parquet(file, dictionaries=True, groups=groups) as parquet:
        names = [name for name in wanted if name in document_columns(parquet.schema_arrow, file, "text" in wanted)]
        for batch in bounded_batches(parquet, file, names, groups, BATCH_ROWS, batch_bytes):
            found = complete(batch, wanted, file, row)
            if "text" in wanted and found["text"].null_count:
                missing = row + pc.index(found["text"].is_null(), True).as_py()
                raise UserError(f"{file}: row {missing} has no text; `llm-core fetch` puts such rows aside by name")
            found.validate(full=True)  # bytes that are not UTF-8: an ArrowInvalid, which names the file
            yield found
            row += found.num_rows


def document_columns(schema: pa.Schema, file: str, text: bool = True) -> list[str]:
    """The file's columns that documents have. Raises BrokenInputError where `text` is wanted and missing or no text."""
    if text and "text" not in schema.names:
        raise BrokenInputError(
            "quarantine_no_text_column",
            f"{file}: has no column 'text' (it has {', '.join(sorted(set(schema.names)))}); "
            "`llm-core fetch` takes other names by `columns`",
        )
    names = [name for name in SCHEMA.names if name in schema.names]
    kind = schema.field(schema.get_field_index("text")).type if schema.names.count("text") == 1 else None
    if text and kind is not None and not _is_text(kind):
        raise BrokenInputError("quarantine_no_text_column", f"{file}: column 'text' holds {kind}, not text")
    return names


def complete(batch: pa.RecordBatch, wanted: list[str], file: str, row: int) -> pa.RecordBatch:
    """Bring a batch of a Parquet file to the schema: values as text, missing ids and sources made; texts may be null.

    `row` is the number of the batch's first row in the file.
    """
    columns = []
    for name in wanted:
        field = SCHEMA.field(name)
        try:
            there = name in batch.schema.names
            column = _text_column(batch.column(name), field.type) if there else pa.nulls(batch.num_rows, field.type)
        except (ValueError, OverflowError) as error:
            raise BrokenInputError("quarantine_parquet", f"{file}: column '{name}': {error}") from None
        if name == "id" and column.null_count:
            own = column.to_pylist()
            column = pa.array([row_id(file, row + number) if key is None else key for number, key in enumerate(own)])
        if name == "source" and column.null_count:
            column = column.fill_null(source_of(file))
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=pa.schema([SCHEMA.field(name) for name in wanted]))


def _text_column(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_null(column.type):
        return column.cast(kind)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        return column.cast(pa.large_binary()).view(pa.large_string()).cast(kind)  # checked where it is used
    return pa.array([as_text(value) for value in column_values(column)], kind)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_null(kind) or any(is_kind(kind) for is_kind in STRINGS)
