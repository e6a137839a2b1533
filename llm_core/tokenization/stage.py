"""The stage `tokenize`: documents in, memory-mapped Arrow token shards out.

A document becomes begin + ids + end token (`models.prompts.document_frame`). A folder that `llm-core split` wrote
gives one folder of shards for each of its sides; any other input gives its shards directly in `out`.
"""

import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llm_core.formats.documents import count_documents, read_documents, require_documents
from llm_core.formats.identity import Identities, id_places
from llm_core.formats.pieces import connected, on_pieces
from llm_core.formats.token_shards import SHARD_TOKENS, TokenWriter, count_shards, token_schema
from llm_core.params.launch import PieceLaunch
from llm_core.runtime import progress
from llm_core.runtime.engine import in_threads
from llm_core.runtime.storage import output_folder, read_json, write_json
from llm_core.tokenization.any_tokenizer import TextEncoder, encoder_of, known_encoder
from llm_core.tokenization.compression import TokenStatistics

SIDES = ("train", "heldout")
COLUMNS = ("id", "source", "text")
PIECES = ".pieces"
HERE = PieceLaunch()


def tokenize(
    paths: Sequence[str | Path],
    tokenizer: str | Path,
    out: str | Path,
    launch: PieceLaunch = HERE,
    shard_tokens: int = SHARD_TOKENS,
) -> dict[str, Any]:
    """Encode the documents at `paths` into shards at `out`, and return the metrics.

    Raises UserError: no documents, no tokenizer there, an id that appears twice (in a mix a document may: it is seen in
    several passes).
    """
    encoder = encoder_of(tokenizer)
    sides = _sides(paths)
    with connected(launch, "tokenization"), output_folder(out, paths, stored=True) as folder:
        identities = Identities(folder)
        metrics = {
            side: _encode_side(
                places,
                folder / side if side else folder,
                encoder,
                str(tokenizer),
                launch,
                side,
                shard_tokens,
                identities,
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
    tokenizer: str,
    launch: PieceLaunch,
    side: str,
    shard_tokens: int,
    identities: Identities,
) -> dict[str, Any]:
    schema = token_schema(encoder.size, encoder.digest)
    statistics = TokenStatistics(encoder.size)
    total = count_documents(paths)
    documents = 0
    if launch.runner == "ray":
        encoded = _on_nodes(paths, folder / PIECES, tokenizer, encoder, statistics, launch)
    else:
        encoded = _in_threads(paths, encoder, statistics, launch.workers)
    with (
        TokenWriter(folder, schema, shard_tokens) as writer,
        progress.task(f"tokenize {side}".strip(), total=total) as work,
    ):
        for rows in encoded:
            identities.add(rows.column("id"))
            writer.write(rows)
            documents += rows.num_rows
            work.update(rows.num_rows, tokens=writer.tokens)
    metrics = statistics.summary()
    there = count_shards(folder)
    if not (there == (documents, writer.tokens) == (metrics["documents"], metrics["tokens"])):
        raise RuntimeError(
            f"{folder}: {documents} documents of {metrics['tokens']} tokens went in, and other numbers came out"
        )
    return metrics


def _in_threads(
    paths: Sequence[str | Path], encoder: TextEncoder, statistics: TokenStatistics, workers: int
) -> Iterator[pa.RecordBatch]:
    """Rows of token shards; batches are encoded in threads (the encoder releases the interpreter's lock), in order."""
    schema = token_schema(encoder.size, encoder.digest)
    batches = read_documents(paths, COLUMNS)
    for _, (rows, found) in in_threads(_encoded, batches, (encoder, schema), workers):
        statistics.merge(found)
        yield rows


def _encoded(batch: pa.RecordBatch, encoder: TextEncoder, schema: pa.Schema) -> tuple[pa.RecordBatch, TokenStatistics]:
    """Rows of token shards of a batch of documents, and what was counted in them."""
    ids, starts = encoder.encode(batch.column("text"), ends=True)
    statistics = TokenStatistics(encoder.size)
    statistics.add(batch.column("source"), batch.column("text"), ids, starts)
    lists = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), pa.array(ids))
    sizes = pc.binary_length(batch.column("text")).cast(pa.int64())
    columns = [batch.column("id"), batch.column("source"), sizes, lists.cast(schema.field("input_ids").type)]
    return pa.RecordBatch.from_arrays(columns, schema=schema), statistics


def _on_nodes(
    paths: Sequence[str | Path],
    scratch: Path,
    tokenizer: str,
    encoder: TextEncoder,
    statistics: TokenStatistics,
    launch: PieceLaunch,
) -> Iterator[pa.RecordBatch]:
    """The same rows from the nodes of a Ray cluster; each piece's are in a file in `scratch` until they are taken."""
    scratch.mkdir(parents=True)
    shared, found = (tokenizer, encoder.digest, str(scratch)), TokenStatistics(0)
    for file, found in on_pieces(_encode_piece, paths, COLUMNS, shared, launch, "tokenization"):
        statistics.merge(found)
        with pa.memory_map(file) as stream:
            yield from pa.ipc.open_stream(stream)
        Path(file).unlink()
    shutil.rmtree(scratch)


def _encode_piece(
    batches: Iterator[pa.RecordBatch], tokenizer: str, digest: str, scratch: str
) -> tuple[str, TokenStatistics]:
    """Encode a piece into a file of its own; its name and what was counted.

    No two attempts at a piece write one file: a node that is only cut off goes on while another repeats its work.
    """
    encoder, file = known_encoder(tokenizer, digest), Path(scratch, f"{uuid.uuid4().hex}.arrow")
    schema, statistics = token_schema(encoder.size, encoder.digest), TokenStatistics(encoder.size)
    with pa.ipc.new_stream(str(file), schema) as writer:
        for batch in batches:
            rows, found = _encoded(batch, encoder, schema)
            statistics.merge(found)
            writer.write_batch(rows)
    return str(file), statistics
