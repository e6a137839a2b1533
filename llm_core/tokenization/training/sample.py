"""A weighted random sample of documents, streamed.

Two passes over the text, one to measure each source, one to draw; both piece by piece, in threads or on Ray.
Whether a document is drawn depends only on its id, the seed and its source's share, so the sample does not depend on
how the documents are divided into files, and memory stays small. Shares are rounded down to two digits, so that one
document more or less does not change them: a corpus that loses a document which was not drawn gives the same sample,
the same tokenizer and the same token shards.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from llm_core.errors import UserError, require_known
from llm_core.formats.documents import document_files
from llm_core.formats.pieces import divide, on_pieces
from llm_core.params.launch import PieceLaunch
from llm_core.params.tokenizer import Tokenizer
from llm_core.runtime import progress
from llm_core.runtime.digests import short_hash

Result = TypeVar("Result")
HERE = PieceLaunch()


def weigh(paths: Sequence[str | Path], launch: PieceLaunch = HERE) -> dict[str, int]:
    """UTF-8 bytes of text in each source. Raises UserError when there is no text at all."""
    sizes: Counter[str] = Counter()
    found: Counter[str]
    for found in on_pieces(_weigh, paths, ("source", "text"), (), launch, "tokenizer"):
        sizes.update(found)
    require_text(sizes, paths)
    return dict(sorted(sizes.items()))


def require_text(sizes: Mapping[str, int], paths: Sequence[str | Path]) -> None:
    """Raise UserError where all sources together have no byte of text."""
    if not sum(sizes.values()):
        raise UserError(f"{', '.join(map(str, paths))}: the documents hold no text to train a tokenizer on")


def seems_whole(paths: Sequence[str | Path], params: Tokenizer) -> bool:
    """Whether the sizes in the files' footers promise that all documents are in the sample."""
    return not params.weights and sum(piece.size for piece in divide(document_files(paths))) <= params.sample_bytes


def _weigh(batches: Iterator[pa.RecordBatch]) -> Counter[str]:
    sizes: Counter[str] = Counter()
    for batch in batches:
        table = pa.table({"source": batch.column("source"), "bytes": pc.binary_length(batch.column("text"))})
        for row in table.group_by("source").aggregate([("bytes", "sum")]).to_pylist():
            sizes[row["source"]] += row["bytes_sum"] or 0
    return sizes


def shares(sizes: dict[str, int], sample_bytes: int, weights: dict[str, float]) -> dict[str, float]:
    """The share of each source's documents to draw (0 … 1) for a sample of at most `sample_bytes`.

    The sample is divided by `weights` (default: a source's own bytes); a source that cannot fill its part
    gives everything it has, and the others fill the remainder. Raises UserError for a weight of an unknown source.
    """
    require_known(weights, sizes, "tokenizer.weights")
    total = sum(sizes.values())
    wanted = {source: weights.get(source, size / total) for source, size in sizes.items()}
    taken = dict.fromkeys(sizes, 0.0)
    # Lists, not sets: floats are added in one order in every process.
    open_sources = [source for source in sizes if wanted[source] > 0 and sizes[source] > 0]
    left = float(sample_bytes)
    while open_sources:
        scale = left / sum(wanted[source] for source in open_sources)
        full = [source for source in open_sources if wanted[source] * scale >= sizes[source]]
        for source in full or open_sources:
            taken[source] = sizes[source] if full else wanted[source] * scale
        left -= sum(taken[source] for source in full)
        open_sources = [source for source in open_sources if source not in full] if full else []
    return {source: _two_digits(taken[source] / size) if size else 0.0 for source, size in sizes.items()}


def on_sample(
    function: Callable[..., Result],
    paths: Sequence[str | Path],
    drawn: dict[str, float],
    seed: int,
    total: int | None,
    shared: Sequence[Any],
    launch: PieceLaunch,
) -> Iterator[Result]:
    """`function(batches, *shared)` of the drawn documents (source, text) of each piece of the input, in order.

    `total` bytes of text complete the progress bar. Without shares (`drawn` is empty) all documents are taken.
    """
    columns, arguments = ("id", "source", "text"), (function, drawn, seed, *shared)
    with progress.task("sample", total=total, unit="bytes") as work:
        for size, result in on_pieces(_on_drawn, paths, columns, arguments, launch, "tokenizer"):
            work.update(size)
            yield result


def _on_drawn(
    batches: Iterator[pa.RecordBatch], function: Callable[..., Result], drawn: dict[str, float], seed: int, *shared: Any
) -> tuple[int, Result]:
    """Bytes of text in a piece, and the result for what is drawn of it."""
    size = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal size
        for batch in batches:
            size += batch.column("text").nbytes
            yield batch

    result = function(draw(counted(), drawn, seed), *shared)
    return size, result


def draw(batches: Iterator[pa.RecordBatch], drawn: dict[str, float], seed: int) -> Iterator[pa.RecordBatch]:
    """The drawn documents (source, text) of a stream (id, source, text)."""
    for batch in batches:
        if any(share < 1 for share in drawn.values()):
            ids, sources = batch.column("id").to_pylist(), batch.column("source").to_pylist()
            keep = [is_drawn(id, drawn[source], seed) for id, source in zip(ids, sources, strict=True)]
            batch = batch.filter(pa.array(keep, pa.bool_()))
        if batch.num_rows:
            yield batch.select(["source", "text"])


def is_drawn(id: str, share: float, seed: int) -> bool:
    """Whether the document `id` belongs to a sample of `share` (0 … 1) of its source."""
    return int(short_hash("tokenizer sample", str(seed), id)[:13], 16) / 16**13 < share


def _two_digits(share: float) -> float:
    """`share` rounded down to two significant decimal digits: 0.1333 -> 0.13; 1 stays 1."""
    if share <= 0:
        return 0.0
    scale = 10.0 ** (1 - math.floor(math.log10(share)))
    return math.floor(share * scale * (1 + 1e-12)) / scale
