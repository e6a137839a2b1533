"""A piece of the input (`formats.pieces`) as batches of documents and quarantined records.

A JSONL line that cannot be read becomes a dropped record with its line number and a reason (`quarantine_json`,
`quarantine_no_object`, `quarantine_no_text`, `quarantine_too_deep`, `quarantine_too_large`), and never stops the shard.
"""

from collections.abc import Iterator

from llm_core.corpus.cleaning.batch import Batch, from_arrow, from_columns
from llm_core.formats.document_lines import is_half_surrogate, parse_line
from llm_core.formats.document_tables import complete, document_columns
from llm_core.formats.parquet import bounded_batches, open_parquet
from llm_core.formats.pieces import Piece
from llm_core.formats.schema import SCHEMA, row_id, source_of
from llm_core.runtime.json_lines import SURROGATE, JsonLineError, TooLong, raw_lines

BATCH_ROWS = 256
BATCH_BYTES = 16 << 20


def read_piece(piece: Piece) -> Iterator[Batch]:
    """Stream a piece as batches; unreadable records are in them, already dropped."""
    if piece.file.lower().endswith(".parquet"):
        yield from _read_parquet(piece)
    else:
        yield from _read_jsonl(piece.file)


def _read_parquet(piece: Piece) -> Iterator[Batch]:
    row, groups = piece.row, range(piece.first, piece.last)
    with open_parquet(piece.file, dictionaries=True, groups=groups) as parquet:
        names = document_columns(parquet.schema_arrow, piece.file)
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
