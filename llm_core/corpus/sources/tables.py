"""Rows of data files as records: Parquet, JSON lines, CSV and TSV, the last three plain or compressed.

A line that is no JSON object with a text, or a row group that cannot be read, is quarantined alone. A file that ends
too early, is broken or is a decompression bomb gives what came before, and one quarantined record that names it.
`columns` maps our names to the file's: `{text: content, url: link}`.
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from llm_core.corpus.sources.base import Document, Limits, Record, Rejected, broken_file, or_empty
from llm_core.errors import UserError
from llm_core.formats.parquet import TooLarge, batches_or_too_large, check_footer, column_values, open_parquet
from llm_core.formats.parquet_footer import row_groups
from llm_core.formats.schema import as_text
from llm_core.runtime.inputs import BrokenInputError, compression_of
from llm_core.runtime.json_lines import TooLong, is_too_deep, raw_lines

OURS = ("id", "text", "url", "language", "license", "created")
FOUND_IN = {"created": ("created", "date", "timestamp"), "language": ("language", "lang")}  # names that corpora use
MAGIC = {".parquet": b"PAR1", ".gz": b"\x1f\x8b", ".zst": b"\x28\xb5\x2f\xfd", ".bz2": b"BZh", ".xz": b"\xfd7zX"}
BATCH_ROWS = 256
MAX_SHOWN = 12  # names of columns in the reason for which a row is no document
MAX_NAMED = 100  # names of columns that an error can list
MAX_READINGS = 20  # of a CSV file with quotes that nothing closes
NOT_CLOSED, TOO_LONG = "unexpected end of data", "field larger than field limit"  # what csv says
SEPARATED = {".csv": ",", ".tsv": "\t"}
Row = tuple[int, Any]  # (number of the row or line, its values by name or a Rejected)


def read_table(
    file: Path, name: str, columns: Mapping[Any, str], limits: Limits | None = None, named: set[str] | None = None
) -> Iterator[Record]:
    """Stream the records of one data file; `name` is what keys and errors call it, and its ending says what it is.

    `named` gets the names of the rows' columns, where there are `columns` to compare them with.
    A file that is not what its name says, or breaks off, ends with a rejected record.
    """
    return or_empty(_records(file, name, columns, limits or Limits(), set() if named is None else named))


def _records(file: Path, name: str, columns: Mapping[Any, str], limits: Limits, named: set[str]) -> Iterator[Record]:
    offset = -1
    try:
        check_magic(file, name)
        for offset, row in _rows(file, name, limits):
            if columns and isinstance(row, Mapping):
                note_columns(row, columns, named)
            yield row if isinstance(row, Rejected) else to_record(row, f"{name}#{offset}", offset, columns)
    except (UserError, OSError) as error:
        yield broken_file(error, offset + 1)


def note_columns(row: Mapping[str, Any], columns: Mapping[Any, str], named: set[str]) -> None:
    """Add the row's names to `named`: all while there are few, then only those that `columns` asks for."""
    named.update(row.keys() if len(named) < MAX_NAMED else row.keys() & set(columns.values()))


def to_record(row: Mapping[str, Any], key: str, offset: int, columns: Mapping[Any, str]) -> Record:
    """A document from one row of named values; what has no place of its own goes into the metadata."""
    wanted = columns.get("text", "text")
    if wanted not in row:
        shown = ", ".join(map(str, list(row)[:MAX_SHOWN])) + (", …" if len(row) > MAX_SHOWN else "")
        return Rejected("quarantine_no_text", offset, detail=f"no column '{wanted}' (there are {shown})"[:200])
    text = row[wanted]
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")  # what is not UTF-8 is replaced, and said to be
    if not isinstance(text, str):
        return Rejected("quarantine_no_text", offset)
    values: dict[str, str | None] = {}
    used = {wanted, "source", "metadata"}
    for ours in OURS:
        if ours != "text":
            theirs = (columns[ours],) if ours in columns else FOUND_IN.get(ours, (ours,))
            found = next((column for column in theirs if row.get(column) is not None), None)
            used.add(found or ours)
            values[ours] = None if found is None else as_text(row[found])
    metadata = {column: value for column, value in row.items() if column not in used and value is not None}
    inner = row.get("metadata")
    if isinstance(inner, str):
        try:
            if is_too_deep(inner.encode("utf-8", "replace")):
                raise ValueError("nested too deep")
            inner = json.loads(inner)
        except (ValueError, RecursionError):
            metadata["metadata"] = inner
    if isinstance(inner, Mapping):
        metadata |= inner
        values["url"] = values["url"] or _text(inner.get("url"))
        values["language"] = values["language"] or _text(inner.get("language"))
    elif inner is not None and not isinstance(inner, str):
        metadata["metadata"] = inner
    if row.get("source") is not None:
        metadata.setdefault("origin", row["source"])
    return Document(key=key, text=text, metadata=metadata, offset=offset, **values)  # type: ignore[arg-type]


def check_magic(file: Path, name: str) -> None:
    """Raise BrokenInputError when a Parquet or compressed file does not begin as one."""
    for ending, magic in MAGIC.items():
        if name.lower().endswith(ending):
            with open(file, "rb") as stream:
                begin = stream.read(4)
            if not begin.startswith(magic):
                kind = ending.lstrip(".")
                raise BrokenInputError("quarantine_wrong_kind", f"{name}: is not what its name says (no {kind} file)")


def separator_of(name: str) -> str | None:
    """What separates the fields of a CSV or TSV file, compressed or not, by its name; None for other files."""
    lower = name.lower().removesuffix(compression_of(name) or "")
    return next((separator for ending, separator in SEPARATED.items() if lower.endswith(ending)), None)


def _rows(file: Path, name: str, limits: Limits) -> Iterator[Row]:
    if name.lower().endswith(".parquet"):
        return _parquet_rows(file, name, limits)
    separator = separator_of(name)
    return _separated_rows(file, name, separator, limits) if separator else _json_rows(file, name, limits)


def _parquet_rows(file: Path, name: str, limits: Limits) -> Iterator[Row]:
    with open_parquet(file, dictionaries=True) as parquet:
        guard = check_footer(parquet, name, limits.max_inflation)
        offset = 0
        for group, (size, *_) in enumerate(row_groups(parquet.metadata)):
            position = offset
            try:
                for batch in batches_or_too_large(
                    parquet, name, None, [group], BATCH_ROWS, guard=guard, max_row_bytes=limits.max_document_bytes
                ):
                    if isinstance(batch, TooLarge):
                        yield position, Rejected("quarantine_too_large", position, int(batch))
                        position += 1
                        continue
                    for row in _to_rows(batch):
                        yield position, row
                        position += 1
            except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
                first = (str(error).splitlines() or [type(error).__name__])[0]
                for lost in range(position, offset + size):
                    yield lost, Rejected("quarantine_row_group", lost, detail=first[:200])
            offset += size


def _to_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as dictionaries."""
    try:
        return batch.to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        columns = [column_values(column) for column in batch.columns]
        return [dict(zip(batch.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def _json_rows(file: Path, name: str, limits: Limits) -> Iterator[Row]:
    lines = raw_lines(file, name, limits.max_document_bytes, limits.max_inflation)
    for number, line in enumerate(lines, start=1):
        if isinstance(line, TooLong):
            yield number, Rejected("quarantine_too_large", number, int(line))
            continue
        if not line.strip():
            continue
        try:
            if is_too_deep(line):
                yield number, Rejected("quarantine_too_deep", number, len(line))
                continue
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, Rejected("quarantine_json", number, len(line), str(error)[:200])
            continue
        yield number, row if isinstance(row, dict) else Rejected("quarantine_no_object", number, len(line))


def _separated_rows(file: Path, name: str, separator: str, limits: Limits) -> Iterator[Row]:
    """Rows of a CSV or TSV file with a header, numbered by the line that they begin at. TSV has no quotes.

    A CSV whose header has no comma is separated by semicolons or tabs, as Excel writes it. A quote that nothing closes
    costs its own line: the file is read again from the next one.
    """
    if separator == ",":
        header_line = next(_text_lines(file, name, limits), "")
        separator = "," if "," in header_line else next((mark for mark in ";\t" if mark in header_line), ",")
    csv.field_size_limit(limits.max_document_bytes)
    style: dict[str, Any] = {"quoting": csv.QUOTE_NONE if separator == "\t" else csv.QUOTE_MINIMAL, "strict": True}
    header: list[str] | None = None
    first: int | None = 0  # lines before the one to begin at
    for attempt in range(MAX_READINGS):
        lines = Lines(islice(_text_lines(file, name, limits), first, None))
        reader = csv.reader(lines, delimiter=separator, **style)
        start, first = first or 0, None
        while first is None:
            begin = start + reader.line_num
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                end = start + reader.line_num
                detail = str(error)[:200]
                open_quote = end > begin + 1 and detail.startswith((NOT_CLOSED, TOO_LONG))
                closed = _lines_to_closing_quote(lines, separator) if open_quote else None
                if closed is not None:  # a field that is too long, not a quote that nothing closes
                    end += closed
                    start, reader = end, csv.reader(lines, delimiter=separator, **style)
                elif open_quote and header and attempt + 1 < MAX_READINGS:
                    first, end = begin + 1, begin + 1
                if end > begin + 1:
                    detail = f"{detail} (lines {begin + 1} to {end})"
                yield begin + 1, Rejected("quarantine_csv", begin + 1, detail=detail)
                continue
            if not values:
                continue
            if header is None:
                header = values
                if len(set(header)) < len(header):
                    raise BrokenInputError("quarantine_repeated_column", f"{name}: its header names a column twice")
            elif len(values) != len(header):
                size = sum(map(len, values))
                detail = f"{len(values)} fields where the header has {len(header)}"
                yield begin + 1, Rejected("quarantine_fields", begin + 1, size, detail)
            else:
                row = {field: value for field, value in zip(header, values, strict=True) if value or field == "text"}
                yield begin + 1, row


class Lines:
    """Lines, and the last one that was read."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.last = lines, ""

    def __iter__(self) -> "Lines":
        return self

    def __next__(self) -> str:
        self.last = next(self._lines)
        return self.last


def _lines_to_closing_quote(lines: Lines, separator: str) -> int | None:
    """Read on inside a quoted field: number of lines from the last one read, exclusive, to the one that closes it.

    None where nothing closes it.
    """
    for number, line in enumerate(chain([lines.last], lines)):
        for quotes in re.finditer('"+', line):
            if len(quotes[0]) % 2:  # two quotes are one character of the field
                return number if line[quotes.end() : quotes.end() + 1] in ("", separator, "\r", "\n") else None
    return None


def _text_lines(file: Path, name: str, limits: Limits) -> Iterator[str]:
    """A file's lines. The first line that is not ASCII says whether the file is UTF-8 or windows-1252."""
    encoding = None
    for line in raw_lines(file, name, limits.max_document_bytes, limits.max_inflation):
        if isinstance(line, TooLong):
            raise BrokenInputError("quarantine_too_large", f"{name}: a line of {line} bytes")
        if encoding is None and not line.isascii():
            encoding = "utf-8" if _is_utf8(line) else "cp1252"
        yield line.decode(encoding or "ascii", "surrogateescape")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
