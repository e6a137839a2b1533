"""Rows of data files as records: Parquet, and JSON lines plain, in gzip or in zstd.

A line that is no JSON object with a text, or a row group that cannot be read, is quarantined
alone; a compressed file that ends too early gives what came before and one quarantined record.
`columns` maps our names to the file's: `{text: content, url: link}`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llm_core.corpus.sources.base import Document, Record, Rejected
from llm_core.errors import UserError
from llm_core.runtime.json_lines import read_lines

OURS = ("id", "text", "url", "language", "license", "created")
FOUND_IN = {"created": ("created", "date", "timestamp"), "language": ("language", "lang")}  # names that corpora use
MAGIC = {".parquet": b"PAR1", ".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd"}


def read_table(file: Path, name: str, columns: Mapping[str, str]) -> Iterator[Record]:
    """Stream the records of one data file; `name` is what keys and errors call it.

    Raises UserError when the file as a whole is not what its name says.
    """
    check_magic(file, name)
    rows = _parquet_rows(file) if name.endswith(".parquet") else _json_rows(file)
    for offset, row in rows:
        yield row if isinstance(row, Rejected) else to_record(row, f"{name}#{offset}", offset, columns)


def to_record(row: Mapping[str, Any], key: str, offset: int, columns: Mapping[str, str]) -> Record:
    """A document from one row of named values; what has no place of its own goes into the metadata."""
    text = row.get(columns.get("text", "text"))
    if not isinstance(text, str):
        return Rejected("quarantine_no_text", offset)
    values: dict[str, str | None] = {}
    used = {columns.get("text", "text"), "source", "metadata"}
    for ours in OURS:
        if ours != "text":
            theirs = (columns[ours],) if ours in columns else FOUND_IN.get(ours, (ours,))
            found = next((column for column in theirs if row.get(column) is not None), None)
            used.add(found or ours)
            values[ours] = None if found is None else str(row[found])
    metadata = {column: value for column, value in row.items() if column not in used and value is not None}
    inner = row.get("metadata")
    if isinstance(inner, str):
        try:
            inner = json.loads(inner)
        except ValueError:
            metadata["metadata"] = inner
    if isinstance(inner, Mapping):
        metadata |= inner
        values["url"] = values["url"] or _text(inner.get("url"))
        values["language"] = values["language"] or _text(inner.get("language"))
    if row.get("source") is not None:
        metadata.setdefault("origin", row["source"])
    return Document(key=key, text=text, metadata=metadata, offset=offset, **values)  # type: ignore[arg-type]


def check_magic(file: Path, name: str) -> None:
    """Raise UserError when a Parquet, gzip or zstd file does not begin as one."""
    for ending, magic in MAGIC.items():
        if name.endswith(ending):
            with open(file, "rb") as stream:
                begin = stream.read(4)
            if not begin.startswith(magic):
                raise UserError(f"{name}: is not what its name says (no {ending.lstrip('.')} file)")


def _parquet_rows(file: Path) -> Iterator[tuple[int, Any]]:
    try:
        parquet = pq.ParquetFile(file)
    except pa.ArrowInvalid as error:
        raise UserError(f"{file}: cannot be read as Parquet ({str(error).splitlines()[0]})") from None
    offset = 0
    for group in range(parquet.num_row_groups):
        size = parquet.metadata.row_group(group).num_rows
        position = offset
        try:
            for batch in parquet.iter_batches(256, row_groups=[group]):
                for row in batch.to_pylist():
                    yield position, row
                    position += 1
        except (pa.ArrowInvalid, OSError) as error:
            for lost in range(position, offset + size):
                yield lost, Rejected("quarantine_row_group", lost, detail=str(error).splitlines()[0][:200])
        offset += size


def _json_rows(file: Path) -> Iterator[tuple[int, Any]]:
    number = 0
    try:
        for number, line in enumerate(read_lines(file), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, Rejected("quarantine_json", number, len(line), str(error)[:200])
                continue
            yield number, row if isinstance(row, dict) else Rejected("quarantine_no_object", number, len(line))
    except UserError as error:  # truncated: what came before it stands
        yield number + 1, Rejected("quarantine_truncated", number + 1, detail=str(error)[:200])


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
