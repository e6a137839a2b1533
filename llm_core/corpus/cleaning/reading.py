"""Input files as pieces of work, and a piece as batches of documents and quarantined records.

A Parquet file is divided at its row groups, so that one large file keeps all cores busy; a JSONL file is one
piece. A JSONL line that cannot be read becomes a dropped record with reason `quarantine_json` and its line number,
and never stops the shard.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fsspec.core import url_to_fs

from llm_core.corpus.cleaning.batch import Batch, from_arrow, from_columns
from llm_core.errors import UserError
from llm_core.formats.documents import SCHEMA, complete, document_id, parse_line
from llm_core.formats.parquet import open_parquet
from llm_core.runtime.json_lines import read_lines

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
    size: int = 0  # bytes, for the choice of workers


def divide(files: list[str]) -> list[Piece]:
    """The pieces of all files, in order."""
    pieces: list[Piece] = []
    for file in files:
        if not file.endswith(".parquet"):
            filesystem, root = url_to_fs(file)
            pieces.append(Piece(file, size=filesystem.size(root) or 0))
            continue
        with open_parquet(file) as parquet:
            metadata = parquet.metadata
        first = row = size = rows = 0
        for group in range(metadata.num_row_groups):
            size += metadata.row_group(group).total_byte_size
            rows += metadata.row_group(group).num_rows
            if size >= PIECE_BYTES or group == metadata.num_row_groups - 1:
                pieces.append(Piece(file, first, group + 1, row, size))
                first, row, size, rows = group + 1, row + rows, 0, 0
    return pieces


def read_piece(piece: Piece) -> Iterator[Batch]:
    """Stream a piece as batches; unreadable records are in them, already dropped."""
    if piece.file.endswith(".parquet"):
        yield from _read_parquet(piece)
    else:
        yield from _read_jsonl(piece.file)


def _read_parquet(piece: Piece) -> Iterator[Batch]:
    row = piece.row
    with open_parquet(piece.file) as parquet:
        names = [name for name in SCHEMA.names if name in parquet.schema_arrow.names]
        if "text" not in names:
            raise UserError(f"{piece.file}: has no column 'text' (it has {', '.join(parquet.schema_arrow.names)})")
        groups = list(range(piece.first, piece.last))
        for batch in parquet.iter_batches(BATCH_ROWS, row_groups=groups, columns=names):
            yield from_arrow(complete(batch, SCHEMA.names, piece.file, row), piece.file, row)
            row += batch.num_rows


def _read_jsonl(file: str) -> Iterator[Batch]:
    rows: list[dict[str, str | None]] = []
    bad: dict[int, tuple[str, int]] = {}
    offsets: list[int] = []
    size = 0
    for number, line in enumerate(read_lines(file), start=1):
        if not line.strip():
            continue
        try:
            row = parse_line(line, file, number)
            text = row["text"]
            try:
                text.encode()
            except UnicodeEncodeError:  # lone surrogates, which JSON allows and UTF-8 does not
                row["text"] = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        except UserError:
            name = file.rpartition("/")[2]
            source = name.split(".")[0]
            row = {"id": document_id(name, f"line {number}"), "source": source, "text": ""}
            bad[len(rows)] = ("quarantine_json", len(line))
        rows.append(row)
        offsets.append(number)
        size += len(line)
        if len(rows) >= BATCH_ROWS or size >= BATCH_BYTES:
            yield _from_rows(rows, offsets, bad, file)
            rows, offsets, bad, size = [], [], {}, 0
    if rows:
        yield _from_rows(rows, offsets, bad, file)


def _from_rows(
    rows: list[dict[str, str | None]], offsets: list[int], bad: dict[int, tuple[str, int]], file: str
) -> Batch:
    columns = [[row.get(name) for row in rows] for name in SCHEMA.names]
    batch = from_columns(columns, file, offsets)
    for row, (reason, size) in bad.items():
        batch.drop(row, reason)
        batch.sizes[row] = size
    return batch
