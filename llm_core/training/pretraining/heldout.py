"""Held-out text for bits per byte: every token is predicted exactly once, with a context of a chosen length.

A document longer than the context is read in windows that advance by `stride`; a window
scores only the tokens that the one before it did not (the strided perplexity of Hugging Face's docs).
`stride == sequence_length` is the cheapest and gives the first tokens of a window little
context; half of it costs twice as much and gives every token more context. Documents are never
joined. The end of text is predicted too; the begin token is given.

Bits per byte = nats / ln 2 / UTF-8 bytes of the text, comparable across tokenizers and
with a compressor's output.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llm_core.formats.token_shards import TokenShards
from llm_core.models.windows import windows
from llm_core.training.pretraining.batches import IGNORED, Batch
from llm_core.training.pretraining.permutation import Permutation

ROUND_TO = 32  # rows are padded to a multiple of this many tokens


class HeldoutBatch(NamedTuple):
    """Windows of documents; sum the loss of each row into its document."""

    batch: Batch
    """int64 [B, T'], T' at most the sequence length; segment_ids are 1, and 0 in padding."""
    documents: npt.NDArray[np.int64]
    """int64 [B]: which document each row belongs to."""


def heldout_batches(
    shards: TokenShards,
    *,
    sequence_length: int,
    batch_size: int,
    pad_id: int,
    stride: int | None = None,
    documents: Iterable[int] | None = None,
    round_to: int = ROUND_TO,
) -> Iterator[HeldoutBatch]:
    """Windows over `documents` (all by default), longest first so that a batch wastes little.

    `stride` is `sequence_length` by default. Rows are as wide as the longest of the batch, rounded up to
    `round_to`; pass `round_to=sequence_length` for one fixed shape (torch.compile).
    """
    stride = stride or sequence_length
    chosen = range(len(shards)) if documents is None else documents
    found = [  # (document, first input, last input + 1, first input that is scored)
        (document, *window)
        for document in chosen
        for window in windows(int(shards.starts[document + 1] - shards.starts[document]), sequence_length, stride)
    ]
    found.sort(key=lambda window: window[1] - window[2])
    for begin in range(0, len(found), batch_size):
        yield _batch(shards, found[begin : begin + batch_size], pad_id, sequence_length, round_to)


def sample_documents(shards: TokenShards, tokens_per_source: int, seed: int) -> list[int]:
    """Whole documents of every source, drawn at random until each source has `tokens_per_source` tokens."""
    by_source: dict[str, list[int]] = defaultdict(list)
    for document, source in enumerate(shards.column("source")):
        by_source[str(source)].append(document)
    chosen = []
    for source, members in sorted(by_source.items()):
        order = Permutation(len(members), seed, "heldout", source)(np.arange(len(members)))
        budget = tokens_per_source
        for place in order.tolist():
            if budget <= 0:
                break
            chosen.append(members[place])
            budget -= int(shards.starts[members[place] + 1] - shards.starts[members[place]])
    return sorted(chosen)


def bits_per_byte(shards: TokenShards, nats: Mapping[int, float]) -> dict[str, float]:
    """Bits per byte over all documents ("all") and per source, from the summed loss of each document in nats."""
    documents = sorted(nats)
    bits: dict[str, float] = defaultdict(float)
    size: dict[str, int] = defaultdict(int)
    rows: Any = zip(documents, shards.column("source", documents), shards.column("bytes", documents), strict=True)
    for document, source, length in rows:
        for key in ("all", source):
            bits[key] += nats[document] / math.log(2)
            size[key] += length
    return {key: bits[key] / size[key] for key in sorted(bits) if size[key]}


def _batch(
    shards: TokenShards, chosen: list[tuple[int, int, int, int]], pad_id: int, sequence_length: int, round_to: int
) -> HeldoutBatch:
    longest = max(end - begin for _, begin, end, _ in chosen)
    shape = (len(chosen), min(-(-longest // round_to) * round_to, sequence_length))
    inputs, targets = np.full(shape, pad_id, np.int64), np.full(shape, IGNORED, np.int64)
    positions, segments = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for row, (document, begin, end, scored) in enumerate(chosen):
        ids = shards.ids(document, begin, end + 1)
        width = end - begin
        inputs[row, :width] = ids[:width]
        targets[row, scored - begin : width] = ids[scored - begin + 1 :]
        positions[row, :width] = np.arange(width)
        segments[row, :width] = 1
    return HeldoutBatch(Batch(inputs, targets, positions, segments), np.array([w[0] for w in chosen], np.int64))
