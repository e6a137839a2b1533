"""Input files as pieces of work, and a piece as batches of documents and quarantined records.

A Parquet file is divided at its row groups, so that one large file keeps all cores busy; a JSONL file is one
piece. A JSONL line that cannot be read becomes a dropped record with its line number and a reason (`quarantine_json`,
`quarantine_no_object`, `quarantine_no_text`, `quarantine_too_deep`, `quarantine_too_large`), and never stops the shard.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from llm_core.corpus.cleaning.batch import Batch, from_arrow, from_columns
from llm_core.formats.document_lines import is_half_surrogate, parse_line
from llm_core.formats.document_tables import complete, document_columns
from llm_core.formats.parquet import bounded_batches, open_parquet, read_footer
from llm_core.formats.parquet_footer import row_groups
from llm_core.formats.schema import SCHEMA, row_id, source_of
from llm_core.runtime.json_lines import SURROGATE, JsonLineError, TooLong, raw_lines
from llm_core.runtime.storage import file_system

PIECE_BYTES = 32 << 20  # uncompressed; small enough to share out, large enough to make starting a piece cheap
BATCH_ROWS = 256
BATCH_BYTES = 16 << 20


@dataclass(frozen=True)
class Piece:
    """What one worker does at a time: a file, or of a Parquet file the row groups from `first` up to `last`."""

    file: str
    first: int = 0
    last: int = 0
    row: int = 0  # number of the first row in the file
    size: int = 0  # bytes, by which the number of workers is chosen


def divide(files: list[str]) -> list[Piece]:
    """The pieces of all files, in order."""
    pieces: list[Piece] = []
    for file in files:
        if not file.lower().endswith(".parquet"):
            filesystem, root = file_system(file)
            pieces.append(Piece(file, size=filesystem.size(root) or 0))
            continue
        groups = row_groups(read_footer(file))
        first = row = size = rows = 0
        for group, (group_rows, decoded, _) in enumerate(groups):
            size += decoded
            rows += group_rows
            if size >= PIECE_BYTES or group == len(groups) - 1:
                pieces.append(Piece(file, first, group + 1, row, size))
                first, row, size, rows = group + 1, row + rows, 0, 0
    return pieces


def read_piece(piece: Piece) -> Iterator[Batch]:
    """Stream a piece as batches; unreadable records are in them, already dropped."""
    if piece.file.lower().endswith(".parquet"):
        yield from _read_parquet(piece)
    else:
        yield from _read_jsonl(piece.file)


def _read_parquet(piece: Piece) -> Iterator[Batch]:
    row = piece.row
    with open_parquet(piece.file, dictionaries=True) as parquet:
        names = document_columns(parquet.schema_arrow, piece.file)
        groups = list(range(piece.first, piece.last))
        for found in bounded_batches(parquet, piece.file, names, groups, BATCH_ROWS, BATCH_BYTES):
            whole = complete(found, SCHEMA.names, piece.file, row)
            batch = from_arrow(whole, piece.file, row)
            if whole["text"].null_count:
                for place, missing in enumerate(whole["text"].is_null().to_pylist()):
                    if missing:
                        batch.drop(place, "quarantine_no_text")
            yield batch
            row += found.num_rows


def _read_jsonl(file: str) -> Iterator[Batch]:
    rows: list[dict[str, str | None]] = []
    bad: dict[int, tuple[str, int]] = {}
    replaced: dict[int, list[str]] = {}
    offsets: list[int] = []
    size = 0
    for number, line in enumerate(raw_lines(file), start=1):
        if not isinstance(line, TooLong) and not line.strip():
            continue
        try:
            if isinstance(line, TooLong):
                raise JsonLineError("too_large", f"a line of {line} bytes")
            row = parse_line(line, file, number)
            if SURROGATE.search(line) and any(map(is_half_surrogate, row.values())):
                row = {key: value and value.encode("utf-8", "replace").decode() for key, value in row.items()}
                replaced[len(rows)] = ["surrogates_replaced"]
        except JsonLineError as error:
            row = {"id": row_id(file, number), "source": source_of(file), "text": ""}
            reason = "quarantine_json" if error.reason == "no_json" else f"quarantine_{error.reason}"
            bad[len(rows)] = (reason, int(line) if isinstance(line, TooLong) else len(line))
        rows.append(row)
        offsets.append(number)
        size += 0 if isinstance(line, TooLong) else len(line)
        if len(rows) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield _from_rows(rows, offsets, bad, replaced, file)
            rows, offsets, bad, replaced, size = [], [], {}, {}, 0
    if rows:
        yield _from_rows(rows, offsets, bad, replaced, file)


def _from_rows(
    rows: list[dict[str, str | None]],
    offsets: list[int],
    bad: dict[int, tuple[str, int]],
    replaced: dict[int, list[str]],
    file: str,
) -> Batch:
    columns = [[row.get(name) for row in rows] for name in SCHEMA.names]
    batch = from_columns(columns, file, offsets, replaced)
    for row, (reason, size) in bad.items():
        batch.drop(row, reason)
        batch.sizes[row] = size
    return batch
