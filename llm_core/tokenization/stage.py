"""The stage `tokenize`: documents in, memory-mapped Arrow token shards out.

A document becomes begin + ids + end token (`models.prompts.document_frame`). A folder that `llm-core split` wrote
gives one folder of shards for each of its sides; any other input gives its shards directly in `out`.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llm_core.formats.documents import count_documents, read_documents, require_documents
from llm_core.formats.identity import Identities, id_places
from llm_core.formats.token_shards import SHARD_TOKENS, TokenShards, TokenWriter, token_schema
from llm_core.runtime import progress
from llm_core.runtime.engine import ahead
from llm_core.runtime.storage import output_folder, read_json, write_json
from llm_core.tokenization.any_tokenizer import Ids, Starts, TextEncoder, encoder_of
from llm_core.tokenization.compression import TokenStatistics

SIDES = ("train", "heldout")


def tokenize(
    paths: Sequence[str | Path], tokenizer: str | Path, out: str | Path, workers: int, shard_tokens: int = SHARD_TOKENS
) -> dict[str, Any]:
    """Encode the documents at `paths` into shards at `out`, and return the metrics.

    Raises UserError: no documents, no tokenizer there, an id that appears twice (in a mix a document may: it is seen in
    several passes).
    """
    encoder = encoder_of(tokenizer)
    sides = _sides(paths)
    with output_folder(out, paths, stored=True) as folder:
        identities = Identities(folder)
        metrics = {
            side: _encode_side(
                places, folder / side if side else folder, encoder, workers, side, shard_tokens, identities
            )
            for side, places in sides.items()
        }
        for side, places in sides.items():
            require_documents(metrics[side]["documents"], places)
        if not any(map(_is_mix, paths)):
            identities.require_unique(id_places([place for places in sides.values() for place in places]), "tokenize")
        written = metrics.get("", metrics)
        written |= {"vocab_size": encoder.size, "tokenizer": encoder.digest}
        write_json(folder / "metrics.json", written)
    progress.report({"tokenize": written})
    return written


def _sides(paths: Sequence[str | Path]) -> dict[str, list[str | Path]]:
    if all(Path(path, side).is_dir() for path in paths for side in SIDES):
        return {side: [Path(path, side) for path in paths] for side in SIDES}
    return {"": list(paths)}


def _is_mix(path: str | Path) -> bool:
    """Whether `path` is an output of `mix`, or its training side."""
    return any(
        (folder / "metrics.json").is_file() and "mix" in read_json(folder / "metrics.json")
        for folder in (Path(path), Path(path).parent)
    )


def _encode_side(
    paths: Sequence[str | Path],
    folder: Path,
    encoder: TextEncoder,
    workers: int,
    side: str,
    shard_tokens: int,
    identities: Identities,
) -> dict[str, Any]:
    schema = token_schema(encoder.size, encoder.digest)
    statistics = TokenStatistics(encoder.size)
    total = count_documents(paths)
    batches = read_documents(paths, columns=["id", "source", "text"])
    documents = 0
    with (
        TokenWriter(folder, schema, shard_tokens) as writer,
        progress.task(f"tokenize {side}".strip(), total=total) as work,
    ):
        for batch, ids, starts in _in_order(batches, encoder, workers):
            identities.add(batch.column("id"))
            statistics.add(batch.column("source"), batch.column("text"), ids, starts)
            writer.write(_rows(batch, ids, starts, schema))
            documents += batch.num_rows
            work.update(batch.num_rows, tokens=writer.tokens)
    metrics = statistics.summary()
    shards = TokenShards(folder)
    if not (shards.tokens == writer.tokens == metrics["tokens"] and len(shards) == documents == metrics["documents"]):
        raise RuntimeError(
            f"{folder}: {documents} documents of {metrics['tokens']} tokens went in, and other numbers came out"
        )
    return metrics


def _in_order(
    batches: Iterator[pa.RecordBatch], encoder: TextEncoder, workers: int
) -> Iterator[tuple[pa.RecordBatch, Ids, Starts]]:
    """Encode on `workers` threads (the encoder releases the interpreter's lock), a few batches ahead, in order."""
    with ThreadPoolExecutor(workers) as pool:

        def submit(batch: pa.RecordBatch) -> "Future[tuple[Ids, Starts]]":
            return pool.submit(encoder.encode, batch.column("text"), ends=True)

        for batch, found in ahead(batches, submit, Future.result, workers):
            yield batch, *found


def _rows(batch: pa.RecordBatch, ids: Ids, starts: Starts, schema: pa.Schema) -> pa.RecordBatch:
    lists = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.array(ids))
    sizes = pc.binary_length(batch.column("text")).cast(pa.int64())
    columns = [batch.column("id"), batch.column("source"), sizes, lists.cast(schema.field("input_ids").type)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
