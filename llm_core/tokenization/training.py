"""The stage `train-tokenizer`: documents in, a Hugging Face tokenizer folder and its figures out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from llm_core import progress
from llm_core.params.tokenizer import Tokenizer
from llm_core.storage import output_folder, write_json
from llm_core.tokenization import layout, sample
from llm_core.tokenization.encoding import Encoder
from llm_core.tokenization.pattern import pattern
from llm_core.tokenization.specials import SPECIAL_TOKENS
from llm_core.tokenization.statistics import TokenStatistics


def train_tokenizer(paths: Sequence[str | Path], out: str | Path, params: Tokenizer, seed: int) -> dict[str, Any]:
    """Train on a sample of the documents at `paths`, write `out`, and return its metrics.

    Raises UserError: no documents, no text, a weight of no source.
    """
    sizes = sample.weigh(paths)
    drawn = sample.shares(sizes, params.sample_bytes, params.weights)
    total = sum(sizes.values())
    merges = _train(sample.draw(paths, drawn, seed, total), params)
    with output_folder(out) as folder:
        layout.save(folder, merges, pattern(params))
        vocabulary = layout.Vocabulary(folder)
        encoder, statistics = Encoder(vocabulary), TokenStatistics(vocabulary.size)
        for batch in sample.draw(paths, drawn, seed, total):
            statistics.add(batch.column("source"), batch.column("text"), encoder.encode(batch.column("text")))
        metrics = statistics.summary() | {
            "vocab_size": vocabulary.size,
            "merges": len(merges),
            "special_tokens": len(SPECIAL_TOKENS),
            "sampled_share": {source: round(share, 6) for source, share in drawn.items()},
        }
        write_json(folder / "metrics.json", metrics)
    progress.log(
        f"tokenizer: {vocabulary.size} tokens, {metrics['bytes_per_token']:.3f} bytes a token, "
        f"{metrics['unused_tokens']} unused"
    )
    progress.report({"tokenizer": metrics})
    return metrics


def _train(batches: Iterator[pa.RecordBatch], params: Tokenizer) -> list[tuple[bytes, bytes]]:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern(params)), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=params.vocab_size - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (text.as_py() for batch in batches for text in batch.column("text"))
    tokenizer.train_from_iterator(texts, trainer)
    import json

    by_character = {character: byte for byte, character in layout.byte_alphabet().items()}
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(bytes(by_character[c] for c in half) for half in merge) for merge in merges]  # type: ignore[misc]
