"""Documents as pieces of work: the input in parts that any process or node can read by itself.

A Parquet file is divided at its row groups, so that one large file keeps all cores busy; a JSONL file is one piece.
A stage applies a function to each piece, or to each batch of documents, and takes the results in the pieces' order, so
that the bytes it writes depend neither on the runner (`runtime.engine`) nor on who did what when. On Ray only the
description of a piece travels to a node, which reads the documents itself, and results travel back; so inputs must be
visible to all nodes, under the same paths or at an fsspec address.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

from llm_core.formats.document_tables import read_parquet
from llm_core.formats.documents import BATCH_BYTES, Paths, document_files, read_batches, read_numbered_batches
from llm_core.formats.parquet import read_footer
from llm_core.formats.parquet_footer import row_groups
from llm_core.params.launch import BatchLaunch, PieceLaunch
from llm_core.runtime.engine import in_threads, on_ray
from llm_core.runtime.memory import batch_bytes
from llm_core.runtime.ray_cluster import ray_cluster
from llm_core.runtime.storage import file_system

Result = TypeVar("Result")
PIECE_BYTES = 32 << 20  # uncompressed; small enough to share out, large enough to make starting a piece cheap
Found = list[tuple[int, pa.RecordBatch | None, Any]]  # of each batch: its rows, what is kept of it, the result


@dataclass(frozen=True)
class Piece:
    """What one worker does at a time: a file, or of a Parquet file the row groups from `first` up to `last`."""

    file: str
    first: int = 0
    last: int = 0
    row: int = 0  # number of the first row in the file
    size: int = 0  # bytes, by which the number of workers is chosen

    def __str__(self) -> str:
        return f"{self.file} (row groups {self.first} to {self.last - 1})" if self.last else self.file


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


def piece_batches(piece: Piece, columns: Sequence[str], size: int = BATCH_BYTES) -> Iterator[pa.RecordBatch]:
    """Stream the documents of a piece in batches of about `size` bytes at most; errors as of `read_batches`."""
    if piece.last:
        yield from read_parquet(piece.file, list(columns), size, range(piece.first, piece.last), piece.row)
    else:
        yield from read_batches(piece.file, columns, size)


def connected(launch: PieceLaunch, section: str) -> AbstractContextManager[Any]:
    """Keeps one connection to Ray for all that a stage does in the block; nothing where it runs on this machine."""
    if launch.runner == "ray":
        return ray_cluster(f"launch.{section}.runner", launch.workers)
    return nullcontext()


def on_pieces(
    function: Callable[..., Result],
    inputs: Paths,
    columns: Sequence[str],
    shared: Sequence[Any],
    launch: PieceLaunch,
    section: str,
) -> Iterator[Result]:
    """`function(batches, *shared)` of every piece of the documents at `inputs`, in order.

    `batches` streams the piece's documents with these `columns`. `section` names the section of `launch`.
    """
    pieces = divide(document_files(inputs))
    arguments = (function, tuple(columns), *shared)
    if launch.runner == "ray":
        found = on_ray(_on_piece, pieces, arguments, f"launch.{section}.runner", launch.workers)
    else:
        found = in_threads(_on_piece, pieces, arguments, launch.workers)
    yield from (result for _, result in found)


def _on_piece(piece: Piece, function: Callable[..., Result], columns: Sequence[str], *shared: Any) -> Result:
    return function(piece_batches(piece, columns), *shared)


def on_documents(
    function: Callable[..., Result],
    inputs: Paths,
    needs: Sequence[str],
    keep: Sequence[str],
    shared: Sequence[Any],
    launch: BatchLaunch,
    section: str,
) -> Iterator[tuple[str, int, pa.RecordBatch, Result]]:
    """`function(batch, *shared)` of every batch of documents: (file, number of its first row, batch, result), in order.

    `needs` are the columns that the function reads, `keep` those of the batches that come back. On this machine
    `function` runs in threads, so that it is worth them where it is compiled code without the interpreter's lock. On
    Ray the columns to keep come with the result; where the text is among them, this process reads it from the file.
    """
    size = batch_bytes(launch.memory_mb)
    if launch.runner != "ray":
        columns = [*dict.fromkeys([*needs, *keep])]
        numbered = read_numbered_batches(inputs, columns, size)
        for (file, offset, batch), result in in_threads(_on_numbered, numbered, (function, *shared), launch.workers):
            yield file, offset, batch, result
        return
    pieces = divide(document_files(inputs))
    there = () if "text" in keep else tuple(keep)
    arguments = (function, tuple(needs), there, size, *shared)
    found: Found
    for piece, found in on_ray(_on_batches, pieces, arguments, f"launch.{section}.runner", launch.workers):
        offset = piece.row
        rows = [rows for rows, _, _ in found]
        kept = (batch for _, batch, _ in found) if there else cut(piece_batches(piece, keep, size), rows)
        for batch, (count, _, result) in zip(kept, found, strict=True):
            yield piece.file, offset, batch, result
            offset += count


def _on_numbered(numbered: tuple[str, int, pa.RecordBatch], function: Callable[..., Result], *shared: Any) -> Result:
    return function(numbered[2], *shared)


def _on_batches(
    piece: Piece, function: Callable[..., Any], needs: Sequence[str], keep: Sequence[str], size: int, *shared: Any
) -> Found:
    columns = [*dict.fromkeys([*needs, *keep])]
    return [
        (batch.num_rows, batch.select(keep) if keep else None, function(batch, *shared))
        for batch in piece_batches(piece, columns, size)
    ]


def cut(batches: Iterator[pa.RecordBatch], rows: Sequence[int]) -> Iterator[pa.RecordBatch]:
    """The same documents in batches of so many rows."""
    held: list[pa.RecordBatch] = []
    for count in rows:
        while sum(batch.num_rows for batch in held) < count:
            held.append(next(batches))
        whole = held[0] if len(held) == 1 else pa.concat_batches(held)
        yield whole.slice(0, count)
        held = [whole.slice(count)]
