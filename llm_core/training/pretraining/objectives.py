"""From the loader's rows to a family's training inputs: next token, masked tokens, corrupted spans.

Next token is the loader's batch as it is. Masked: BERT's 80/10/10 rule (Devlin et al. 2019,
arXiv:1810.04805). Spans: T5's random spans (Raffel et al. 2020, arXiv:1910.10683, section 3.1.4): noise
share and mean length from params, each span replaced by a sentinel, the target the spans behind
their sentinels. Random choices are drawn from (seed, step, row), so they are the same for any
world size and any resume.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from llm_core.kernels.arrays import Ints
from llm_core.models.family import Objective
from llm_core.training.pretraining.batches import IGNORED, Batch


class Inputs(NamedTuple):
    """Arguments of LanguageModel.forward, int64 arrays [B, T]; with a decoder [B, S] for the last two."""

    input_ids: Any
    targets: Any
    position_ids: Any
    segment_ids: Any
    decoder_ids: Any = None


@dataclass(frozen=True)
class Corruption:
    """Settings of the masked and span objectives."""

    objective: Objective
    seed: int
    share: float
    span: float
    pad: int
    words: int
    """Ids below this are the tokenizer's own, from which random replacements come."""
    marks: tuple[int, ...]
    """Ids of the mask token, or of the sentinels in order; then those of the family's own tokens."""
    own: Callable[["Corruption", Batch, list[np.random.Generator]], Inputs] | None = None
    """The family's own objective (`Family.training_inputs`), in place of the rules here."""

    def __call__(self, batch: Batch, step: int, first_row: int) -> Inputs:
        """The inputs of rows `first_row` onwards of `step`'s global batch."""
        if self.objective == "causal" and self.own is None:
            return Inputs(*batch)
        rows = [np.random.default_rng([self.seed, step, first_row + row]) for row in range(len(batch.input_ids))]
        if self.own is not None:
            return self.own(self, batch, rows)
        return self._mask(batch, rows) if self.objective == "masked" else self._spans(batch, rows)

    def _mask(self, batch: Batch, generators: list[np.random.Generator]) -> Inputs:
        inputs, targets = batch.input_ids.copy(), np.full_like(batch.input_ids, IGNORED)
        for row, generator in enumerate(generators):
            used = np.flatnonzero(batch.segment_ids[row] > 0)
            count = max(round(self.share * len(used)), 1)
            chosen = np.sort(generator.choice(used, count, replace=False))
            targets[row, chosen] = inputs[row, chosen]
            fate = generator.random(count)
            inputs[row, chosen[fate < 0.8]] = self.marks[0]
            swapped = chosen[fate >= 0.9]
            inputs[row, swapped] = generator.integers(0, self.words, len(swapped))
        return Inputs(inputs, targets, batch.position_ids, batch.segment_ids)

    def _spans(self, batch: Batch, generators: list[np.random.Generator]) -> Inputs:
        size, length = batch.input_ids.shape
        inputs, segments = np.full_like(batch.input_ids, self.pad), np.zeros_like(batch.input_ids)
        noise, spans = self._counts(length)
        decoder = np.full((size, noise + spans + 1), self.pad, np.int64)
        targets = np.full_like(decoder, IGNORED)
        for row, generator in enumerate(generators):
            ids = batch.input_ids[row, batch.segment_ids[row] > 0]
            kept, target = self._corrupt(ids, generator)
            inputs[row, : len(kept)], segments[row, : len(kept)] = kept, 1
            targets[row, : len(target)] = target
            decoder[row, 1 : len(target)] = target[:-1]
        positions = np.broadcast_to(np.arange(length), inputs.shape).copy()
        return Inputs(inputs, targets, positions, segments, decoder)

    def _counts(self, length: int) -> tuple[int, int]:
        noise = min(max(round(length * self.share), 1), max(length - 1, 1))
        spans = min(max(round(noise / self.span), 1), len(self.marks) - 1, max(length - noise, 1))
        return noise, spans

    def _corrupt(self, ids: Ints, generator: np.random.Generator) -> tuple[Ints, Ints]:
        """`ids` with random spans replaced by sentinels, and the target: sentinel, span, …, last sentinel."""
        noise, spans = self._counts(len(ids))
        gaps = _segments(len(ids) - noise, spans, generator)
        lengths = _segments(noise, spans, generator)
        kept: list[Any] = []
        target: list[Any] = []
        place = 0
        for mark, gap, length in zip(self.marks, gaps, lengths, strict=False):
            kept += [ids[place : place + gap], [mark]]
            target += [[mark], ids[place + gap : place + gap + length]]
            place += gap + length
        kept.append(ids[place:])
        target.append([self.marks[spans]])
        return np.concatenate(kept).astype(np.int64), np.concatenate(target).astype(np.int64)


def _segments(total: int, parts: int, generator: np.random.Generator) -> list[int]:
    """`total` cut at random into `parts` pieces of at least one."""
    cuts = np.sort(generator.choice(np.arange(1, total), parts - 1, replace=False)).tolist() if parts > 1 else []
    return [end - begin for begin, end in zip([0, *cuts], [*cuts, total], strict=True)]
