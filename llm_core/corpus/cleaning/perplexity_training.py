"""Training of the perplexity model on reference text, and the percentiles of the documents that it is to judge.

Words of the reference that are frequent enough are tokens, the others are spelled. A part of the reference, chosen by
the hash of its texts, is held out and measured. All is counting: the same documents give the same bytes.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llm_core.corpus.cleaning.kernels_perplexity import count_characters, tables, word_hashes
from llm_core.corpus.cleaning.perplexity import PerplexityModel, Vocabulary
from llm_core.corpus.cleaning.sampling import sample_texts
from llm_core.corpus.cleaning.token_memo import join
from llm_core.errors import UserError
from llm_core.kernels.arrays import Floats
from llm_core.kernels.ngram import NgramModel
from llm_core.params.cleaning import PerplexityTraining
from llm_core.runtime.progress import log, report
from llm_core.runtime.storage import output_folder, write_json

SHOWN = (5, 30, 60, 95)  # percentiles in the metrics; CCNet cuts at 30 and 60
GROUP = 256  # documents scored at a time


def train_perplexity(
    reference: Sequence[str | Path], sample: Sequence[str | Path], out: Path, params: PerplexityTraining, seed: int
) -> dict[str, Any]:
    """Train on the documents at `reference`; write the folder `out`, return the metrics.

    `sample`: documents as they come, whose percentiles cut head, middle and tail; may be empty. Raises UserError where
    the reference has too few documents to train on and to hold out.
    """
    texts = sample_texts("reference", reference, seed, max_characters=params.max_characters)
    held = max(1, round(len(texts) * params.held_out))
    if len(texts) - held < 1:
        raise UserError(
            f"--reference {', '.join(map(str, reference))}: {len(texts)} distinct documents are too few, one must be "
            "held out and one be left; give more documents"
        )
    vocabulary, ngrams = count_model(texts[held:], params)
    percentiles: tuple[float, ...] = ()
    sampled = np.zeros(0)
    if sample:
        sampled = _score(
            PerplexityModel(vocabulary, ngrams, ()),
            sample_texts("sample", sample, seed, max_documents=params.sample_documents),
        )
        if not len(sampled):
            raise UserError(f"--sample {', '.join(map(str, sample))}: no document with a word in it")
        percentiles = tuple(map(float, np.percentile(sampled, np.arange(1, 100))))
    model = PerplexityModel(vocabulary, ngrams, percentiles)
    metrics: dict[str, Any] = {
        "words": len(vocabulary.words),
        "characters": len(vocabulary.characters),
        "ngrams": {str(number): int(size) for number, size in enumerate(np.diff(ngrams.grams.begins), start=1)},
        "reference": {"trained": len(texts) - held} | _spread(_score(model, texts[:held])),
    }
    if sample:
        metrics["sample"] = _spread(sampled)
    with output_folder(out) as folder:
        model.save(folder)
        write_json(folder / "metrics.json", metrics)
    log(
        f"perplexity model: {metrics['words']} words, median perplexity {metrics['reference']['median']:.0f} on "
        f"{metrics['reference']['documents']} reference documents held out"
        + (f", {metrics['sample']['median']:.0f} on {metrics['sample']['documents']} of the sample" if sample else "")
    )
    report({"train_perplexity": metrics})
    return metrics


def count_model(texts: list[str], params: PerplexityTraining) -> tuple[Vocabulary, NgramModel]:
    """The vocabulary and the n-gram model of some texts; UserError where there is no word in them."""
    data, bounds = join(texts)
    fold, classes = tables()
    found, counts = np.unique(word_hashes(data, bounds, fold, classes), return_counts=True)
    frequent = np.lexsort((found, -counts))[: params.max_words]
    words = found[frequent[counts[frequent] >= params.min_count]]
    characters = np.flatnonzero(count_characters(data, bounds, fold) >= params.min_count).astype(np.int32)
    vocabulary = Vocabulary(words, characters)
    tokens, lines, _, _ = vocabulary.encode(data, bounds)
    if not len(tokens):
        raise UserError("--reference: no word in its documents")
    return vocabulary, NgramModel.count(tokens, lines, params.order, vocabulary.size)


def _score(model: PerplexityModel, texts: list[str]) -> Floats:
    """Perplexity of each text that has a word."""
    found = np.concatenate([np.zeros(0), *(model.perplexity(*join(group)) for group in _groups(texts))])
    return found[np.isfinite(found)]


def _groups(texts: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(texts), GROUP):
        yield texts[start : start + GROUP]


def _spread(perplexities: Floats) -> dict[str, Any]:
    if not len(perplexities):
        return {"documents": 0, "median": float("nan")}
    named = {f"percentile_{value}": float(np.percentile(perplexities, value)) for value in SHOWN}
    return {"documents": len(perplexities), "median": float(np.median(perplexities))} | named
