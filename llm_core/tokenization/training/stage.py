"""The stage `train-tokenizer`: documents in, a Hugging Face tokenizer folder and its figures out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llm_core.formats.pieces import connected
from llm_core.params.launch import PieceLaunch
from llm_core.params.tokenizer import Tokenizer
from llm_core.runtime.storage import output_folder, write_json
from llm_core.tokenization import layout
from llm_core.tokenization.any_tokenizer import TextEncoder, known_encoder
from llm_core.tokenization.compression import TokenStatistics, announce, measured
from llm_core.tokenization.encoding import Encoder
from llm_core.tokenization.layout import Vocabulary
from llm_core.tokenization.pattern import pattern
from llm_core.tokenization.specials import SPECIAL_TOKENS
from llm_core.tokenization.training import sample
from llm_core.tokenization.training.counting import PieceCounts
from llm_core.tokenization.training.merges import learn_merges
from llm_core.tokenization.training.sources import SampleCounts, SourcePart, count


def train_tokenizer(
    paths: Sequence[str | Path], out: str | Path, params: Tokenizer, seed: int, launch: PieceLaunch = sample.HERE
) -> dict[str, Any]:
    """Train on a sample of the documents at `paths`, write `out`, and return its metrics.

    Raises UserError: no documents, no text, a weight of an unknown source.
    """
    with connected(launch, "tokenizer"):
        drawn, counts = count_sample(paths, params, seed, launch)
        merges = merged(counts.pieces, params.vocab_size)
        with output_folder(out) as folder:
            layout.save(folder, merges, pattern(params))
            encoder = Encoder(Vocabulary(folder))
            if statistics := counts.fit(encoder):
                metrics = _summary(statistics, encoder)
            else:
                total = sum(counts.sizes.values())
                metrics = fit(encoder, folder, paths, drawn, seed, total, launch)
            metrics |= {"merges": len(merges), "special_tokens": len(SPECIAL_TOKENS), "sampled_share": drawn}
            write_json(folder / "metrics.json", metrics)
    announce("tokenizer", metrics)
    return metrics


def count_sample(
    paths: Sequence[str | Path], params: Tokenizer, seed: int, launch: PieceLaunch
) -> tuple[dict[str, float], SampleCounts]:
    """The share of each source that is in the sample, and the counts of the sample.

    Where the whole input seems to be the sample, sizes and pieces are counted in one pass; if it is not, the pieces
    are counted again.
    """
    policies = (params.digits, params.whitespace == "runs")
    if sample.seems_whole(paths, params):
        counts = _counted(paths, {}, seed, None, policies, launch)
        sizes = counts.sizes
        sample.require_text(sizes, paths)
        drawn = sample.shares(sizes, params.sample_bytes, params.weights)
        if all(share == 1 for share in drawn.values()):
            return drawn, counts
    else:
        sizes = sample.weigh(paths, launch)
        drawn = sample.shares(sizes, params.sample_bytes, params.weights)
    return drawn, _counted(paths, drawn, seed, sum(sizes.values()), policies, launch)


def _counted(
    paths: Sequence[str | Path],
    drawn: dict[str, float],
    seed: int,
    total: int | None,
    policies: tuple[int, bool],
    launch: PieceLaunch,
) -> SampleCounts:
    counts = SampleCounts(*policies)
    part: dict[str, SourcePart]
    for part in sample.on_sample(count, paths, drawn, seed, total, policies, launch):
        counts.merge(part)
    return counts


def fit(
    encoder: TextEncoder,
    folder: Path,
    paths: Sequence[str | Path],
    drawn: dict[str, float],
    seed: int,
    total: int,
    launch: PieceLaunch,
) -> dict[str, Any]:
    """How well the tokenizer in `folder`, which `encoder` is, fits the sample of the documents at `paths`."""
    statistics, shared = TokenStatistics(encoder.size), (str(folder), encoder.digest)
    found: TokenStatistics
    for found in sample.on_sample(_measured, paths, drawn, seed, total, shared, launch):
        statistics.merge(found)
    return _summary(statistics, encoder)


def _summary(statistics: TokenStatistics, encoder: TextEncoder) -> dict[str, Any]:
    return statistics.summary() | {"vocab_size": encoder.size}


def _measured(batches: Iterator[pa.RecordBatch], folder: str, digest: str) -> TokenStatistics:
    encoder = known_encoder(folder, digest)
    return measured(encoder, encoder.size, batches)


def learn(batches: Iterator[pa.RecordBatch], params: Tokenizer) -> list[tuple[bytes, bytes]]:
    """The merges that a column of texts gives, in the order in which they were learned."""
    counts = PieceCounts(params.digits, params.whitespace == "runs")
    for batch in batches:
        counts.add(batch.column("text"))
    return merged(counts, params.vocab_size)


def merged(counts: PieceCounts, vocab_size: int) -> list[tuple[bytes, bytes]]:
    """The merges that counted pieces give."""
    alphabet = list(layout.byte_alphabet())
    byte_ids = np.zeros(256, np.int64)
    byte_ids[alphabet] = layout.FIRST_BYTE + np.arange(256)
    pairs = learn_merges(*counts.result(), byte_ids, layout.FIRST_MERGE, vocab_size)
    return layout.spell(pairs.tolist())
