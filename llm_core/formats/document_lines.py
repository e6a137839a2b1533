"""Documents in JSON lines, brought to the schema of documents.

Arrow's parser reads plain lines several times as fast as a line by line one; it is asked first, and never given what
ends its process: a line that is nested too deep, which overflows its stack, or a block that begins with `null`.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.json as pa_json

from llm_core.errors import UserError
from llm_core.formats.schema import COLUMNS, SCHEMA, as_json, as_text, row_id, source_of
from llm_core.runtime.json_lines import SURROGATE, JsonLineError, is_too_deep, read_lines

BATCH_ROWS = 1024
PLAIN = [name for name in SCHEMA.names if name != "metadata"]


def read_json_lines(file: str, wanted: list[str], batch_bytes: int) -> Iterator[pa.RecordBatch]:
    """Stream the documents of a file of JSON lines with the columns `wanted`.

    Raises UserError, with file and line, where a line is no JSON object with a text.
    """
    plain = True
    for first, lines in _blocks_of_lines(file, batch_bytes):
        batch = plain_batch(lines, first, file, wanted) if plain else None
        if batch is None:
            plain = False  # a file with one odd line has more of them
            batch = parsed_batch(lines, first, file, wanted)
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


def parsed_batch(lines: list[bytes], first: int, file: str, wanted: list[str]) -> pa.RecordBatch:
    """The documents of some lines, each parsed by itself; blank lines hold none."""
    rows = [_strict(line, file, number, wanted) for number, line in enumerate(lines, first) if line.strip()]
    schema = pa.schema([SCHEMA.field(name) for name in wanted])
    return pa.RecordBatch.from_arrays(
        [pa.array([row.get(field.name) for row in rows], field.type) for field in schema], schema=schema
    )


def plain_batch(lines: list[bytes], first: int, file: str, wanted: list[str]) -> pa.RecordBatch | None:
    """The same by Arrow's parser, several times as fast, or None where it might say something else.

    It takes whole objects, one a line, of valid UTF-8, with nothing but strings in the fields of `SCHEMA` and, where
    `metadata` is wanted, no other field.
    """
    if not all(line.startswith(b"{") for line in lines) or any(map(is_too_deep, lines)):
        return None
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
    except (pa.ArrowException, UnicodeDecodeError):  # the second by a field's name that is not UTF-8
        return None
    one_a_line = block.count(b"}\n{") == len(lines) - 1 and found.num_rows == len(lines)
    if not one_a_line or found.num_columns > len(names) or found["text"].null_count:
        return None
    columns = {name: found[name].combine_chunks() for name in names}
    if "source" in columns:
        columns["source"] = columns["source"].fill_null(source_of(file))
    if "id" in columns and columns["id"].null_count:
        ids = enumerate(columns["id"].to_pylist(), first)
        columns["id"] = pa.array([row_id(file, number) if key is None else key for number, key in ids])
    columns["metadata"] = pa.nulls(len(lines), pa.string())
    schema = pa.schema([SCHEMA.field(name) for name in wanted])
    return pa.RecordBatch.from_arrays([columns[name] for name in wanted], schema=schema)


def _strict(line: bytes, file: str, number: int, wanted: Sequence[str]) -> dict[str, Any]:
    try:
        document = parse_line(line, file, number, wanted)
        if SURROGATE.search(line) and any(is_half_surrogate(value) for value in document.values()):
            raise JsonLineError("half_surrogate", "half of a surrogate pair, which is no character")
    except JsonLineError as error:
        raise UserError(f"{file}:{number}: {error}") from None
    return document


def parse_line(line: bytes, file: str, number: int, wanted: Sequence[str] = SCHEMA.names) -> dict[str, Any]:
    """The document in a line of JSON, with at least the columns `wanted` that it has.

    Strings may hold halves of surrogate pairs, which JSON can name and UTF-8 cannot hold (see `is_half_surrogate`).
    Raises JsonLineError where the line is no JSON object with a text: `no_json`, `too_deep`, `no_object`, `no_text`.
    """
    if is_too_deep(line):
        raise JsonLineError("too_deep", "nested too deep")
    try:
        row = orjson.loads(line)
    except ValueError:
        row = _exact(line)
    if type(row) is not dict:
        raise JsonLineError("no_object", "a JSON object with a string field 'text' is needed")
    if type(row.get("text")) is not str:
        fields = f" (it has {', '.join(sorted(row))})"[:200] if row else ""
        raise JsonLineError("no_text", f"a JSON object with a string field 'text' is needed{fields}")
    if type(row.get("id")) is float:  # an integer of more than 64 bits, which orjson rounds
        row = _exact(line)
    document = {key: as_text(value) for key, value in row.items() if key in COLUMNS}
    if "metadata" in wanted and (len(document) < len(row) or document.get("metadata") is not None):
        document["metadata"] = _metadata(_exact(line))
    if row.get("id") is None:
        document["id"] = row_id(file, number)
    if row.get("source") is None:
        document["source"] = source_of(file)
    return document


def is_half_surrogate(value: str | None) -> bool:
    """Whether a string holds half of a surrogate pair."""
    try:
        (value or "").encode()
    except UnicodeEncodeError:
        return True
    return False


def _exact(line: bytes) -> Any:
    """Python's own parser: slower, but exact on large integers, and takes NaN and halves of surrogate pairs."""
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise JsonLineError("no_json", f"not UTF-8 (byte {error.start + 1})") from None
    except (ValueError, RecursionError) as error:
        raise JsonLineError("no_json", f"not valid JSON ({error})") from None


def _metadata(row: dict[str, Any]) -> str | None:
    extra = {key: value for key, value in row.items() if key not in COLUMNS}
    metadata = row.get("metadata")
    if isinstance(metadata, str):
        try:
            inner = None if is_too_deep(metadata.encode("utf-8", "replace")) else json.loads(metadata)
        except (ValueError, RecursionError):
            inner = None
        metadata = inner if isinstance(inner, dict) else metadata
    if isinstance(metadata, dict):
        extra |= metadata
    elif metadata is not None:
        extra["metadata"] = metadata
    return as_json(extra) if extra else None
