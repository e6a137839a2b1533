"""The stage `dedup-text`: one pass finds what is repeated across documents, another writes texts without it.

Count in = kept + changed + dropped: a document that lost something is `changed` (`repeated_paragraph`, `repeated_line`,
`repeated_substring`, with the share of its bytes that went and the document that holds the largest piece); one of
which nothing is left is `dropped` for the same reason. A document with anything of its own stays, so no text is lost.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm_core.corpus.deduplication.survivors import source_ranks
from llm_core.corpus.deduplication.text.spans import Cuts, SpanFinder, Spans, document_keys, find_spans
from llm_core.corpus.deduplication.text.substrings import SubstringFinder
from llm_core.errors import UserError
from llm_core.formats import ledger
from llm_core.formats.disk_columns import StringColumn
from llm_core.formats.documents import (
    SHARD_BYTES,
    DocumentWriter,
    count_documents,
    read_numbered_batches,
    require_documents,
    unchanged,
)
from llm_core.formats.pieces import on_documents
from llm_core.params.launch import TextDeduplicationLaunch
from llm_core.params.text_deduplication import TextDeduplication
from llm_core.runtime import progress
from llm_core.runtime.memory import batch_bytes
from llm_core.runtime.storage import output_folder, write_json

KEPT, CHANGED, DROPPED = range(3)
VERDICTS = pa.array(["kept", "changed", "dropped"])
NEEDS = ("id", "source", "text")


def dedup_text(
    inputs: list[str],
    out: Path,
    params: TextDeduplication,
    seed: int,
    priority: list[str],
    shard_bytes: int = SHARD_BYTES,
    launch: TextDeduplicationLaunch = TextDeduplicationLaunch(),  # noqa: B008 - frozen
) -> dict[str, Any]:
    """Take repeated pieces out of the documents at `inputs`; the metrics.

    `priority` ranks sources, the first to hold text first; those it does not name come last. Raises UserError where an
    input is missing or broken, or too large for the substrings of it to be found in `memory_mb`.
    """
    if params.unit == "substring" and launch.runner == "ray":
        raise UserError(
            "launch.text_deduplication.runner: ray: substrings are found by one suffix array, on one machine; set it "
            "to local, or text_deduplication.unit to paragraph or line"
        )
    ranks = source_ranks(priority)
    with output_folder(out, inputs, stored=True) as folder, unchanged(inputs):
        ids = StringColumn(folder)
        finder: SubstringFinder | SpanFinder
        with progress.task(f"dedup-text: {params.unit}s", total=count_documents(inputs)) as work:
            if params.unit == "substring":
                finder = SubstringFinder(folder, params.min_bytes, launch.memory_mb)
                for _, _, batch in read_numbered_batches(inputs, NEEDS, batch_bytes(launch.memory_mb)):
                    finder.add(batch.column("text"), document_keys(batch, ranks))
                    ids.append(batch.column("id"))
                    work.update(batch.num_rows)
            else:
                finder = SpanFinder(folder, launch.memory_mb)
                shared = (ranks, params.unit, params.min_words, seed)
                spans: Spans
                for _, _, batch, spans in on_documents(
                    _spans, inputs, NEEDS, ("id",), shared, launch, "text_deduplication"
                ):
                    finder.add(spans)
                    ids.append(batch.column("id"))
                    work.update(batch.num_rows)
        require_documents(len(ids), inputs)
        with progress.timed("dedup-text: comparison"):
            cuts = finder.finish()
        metrics = _write(inputs, folder, cuts, ids, params, shard_bytes, launch.memory_mb)
        write_json(folder / "metrics.json", metrics)
    return metrics


def _spans(batch: pa.RecordBatch, ranks: dict[str, int], unit: str, min_words: int, seed: int) -> Spans:
    return find_spans(batch.column("text"), document_keys(batch, ranks), unit, min_words, seed)


def _write(
    inputs: list[str],
    folder: Path,
    cuts: Cuts,
    ids: StringColumn,
    params: TextDeduplication,
    shard_bytes: int,
    memory_mb: int,
) -> dict[str, Any]:
    """Write what is left of each document, and a ledger row for it."""
    reason = pa.scalar(f"repeated_{params.unit}")
    start = pieces = removed = 0
    with (
        progress.task("dedup-text: write", total=len(ids)) as work,
        DocumentWriter(folder / "documents", shard_bytes) as writer,
        ledger.LedgerWriter(folder / "ledger", "dedup-text") as judged,
    ):
        for file, offset, batch in read_numbered_batches(inputs, None, batch_bytes(memory_mb)):
            texts, lengths = batch.column("text"), pc.binary_length(batch.column("text")).to_numpy()
            verdicts, holders = np.zeros(batch.num_rows, np.int64), np.zeros(batch.num_rows, np.int64)
            left = lengths.copy()
            rewritten = []
            for row in range(batch.num_rows):
                begins, ends, by = cuts.of(start + row)
                if len(begins):
                    text = _without(texts[row].as_buffer(), begins, ends)
                    verdicts[row], left[row] = CHANGED if text.strip() else DROPPED, len(text.encode())
                    holders[row] = by[np.argmax(ends - begins)]
                    rewritten.append(text)
                    pieces += len(begins)
            removed += int((lengths - left)[verdicts == CHANGED].sum())
            touched = pa.array(verdicts != KEPT)
            batch = batch.set_column(
                batch.schema.get_field_index("text"),
                batch.schema.field("text"),
                pc.replace_with_mask(texts, touched, pa.array(rewritten, texts.type)),
            )
            judged.record_columns(
                batch.num_rows,
                id=batch.column("id"),
                source=batch.column("source"),
                verdict=VERDICTS.take(pa.array(verdicts)),
                reason=pc.if_else(touched, reason, pa.scalar(None, pa.string())),
                score=pa.array((lengths - left) / np.maximum(lengths, 1), mask=verdicts == KEPT),
                bytes=pa.array(lengths),
                survivor_id=ids.take(holders, mask=verdicts == KEPT),
                shard=pa.repeat(file, batch.num_rows),
                offset=pa.array(np.arange(batch.num_rows) + offset),
            )
            writer.write(batch.filter(pa.array(verdicts != DROPPED)))
            start += batch.num_rows
            work.update(batch.num_rows)
    metrics = judged.finish(len(ids))
    return metrics | {"pieces_removed": pieces, "bytes_removed": removed + metrics["bytes_dropped"]}


def _without(text: bytes, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> str:
    """UTF-8 `text` without the bytes of the cuts, and without the blank lines that they leave at its ends."""
    view, kept, last = memoryview(text), [], 0
    for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
        kept.append(view[last:begin])
        last = end
    return b"".join([*kept, view[last:]]).decode().rstrip().lstrip("\r\n")
