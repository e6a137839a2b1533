"""The stage `train-tokenizer`: documents in, a Hugging Face tokenizer folder and its figures out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llm_core.params.tokenizer import Tokenizer
from llm_core.runtime.storage import output_folder, write_json
from llm_core.tokenization import layout
from llm_core.tokenization.compression import announce, measure
from llm_core.tokenization.encoding import Encoder
from llm_core.tokenization.pattern import pattern
from llm_core.tokenization.specials import SPECIAL_TOKENS
from llm_core.tokenization.training import sample
from llm_core.tokenization.training.counting import PieceCounts
from llm_core.tokenization.training.merges import learn_merges


def train_tokenizer(paths: Sequence[str | Path], out: str | Path, params: Tokenizer, seed: int) -> dict[str, Any]:
    """Train on a sample of the documents at `paths`, write `out`, and return its metrics.

    Raises UserError: no documents, no text, a weight of an unknown source.
    """
    sizes = sample.weigh(paths)
    drawn = sample.shares(sizes, params.sample_bytes, params.weights)
    total = sum(sizes.values())
    merges = learn(sample.draw(paths, drawn, seed, total), params)
    with output_folder(out) as folder:
        layout.save(folder, merges, pattern(params))
        vocabulary = layout.Vocabulary(folder)
        metrics = measure(Encoder(vocabulary), vocabulary.size, sample.draw(paths, drawn, seed, total)) | {
            "merges": len(merges),
            "special_tokens": len(SPECIAL_TOKENS),
            "sampled_share": drawn,
        }
        write_json(folder / "metrics.json", metrics)
    announce("tokenizer", metrics)
    return metrics


def learn(batches: Iterator[pa.RecordBatch], params: Tokenizer) -> list[tuple[bytes, bytes]]:
    """The merges that a column of texts gives, in the order in which they were learned."""
    counts = PieceCounts(params.digits, params.whitespace == "runs")
    for batch in batches:
        counts.add(batch.column("text"))
    alphabet = list(layout.byte_alphabet())
    byte_ids = np.zeros(256, np.int64)
    byte_ids[alphabet] = layout.FIRST_BYTE + np.arange(256)
    pairs = learn_merges(*counts.result(), byte_ids, layout.FIRST_MERGE, params.vocab_size)
    return layout.spell(pairs.tolist())
