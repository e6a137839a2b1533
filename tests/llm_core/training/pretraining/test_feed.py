"""What is made ahead is what would be made at its step, over phases, after a resume, and at the last step."""

from pathlib import Path

import numpy as np
import pytest

from llm_core.training.pretraining.engine import World
from llm_core.training.pretraining.feed import Feed
from llm_core.training.pretraining.objectives import Corruption, Inputs
from llm_core.training.pretraining.phases import PhasedBatches
from tests.llm_core.training.pretraining.test_batches import PAD, corpus
from tests.llm_core.training.pretraining.test_phases import plan, settings


@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_inputs_made_ahead_are_those_of_their_step(tmp_path: Path, objective: str) -> None:
    shards = corpus(tmp_path, np.random.default_rng(0).integers(2, 60, 60).tolist())
    steps, world = plan(2), World(1, 2, 1)
    batches = PhasedBatches.of_plan(shards, steps, settings(), seed=5, pad_id=PAD)
    corruption = Corruption(objective, 5, 0.3, 3.0, PAD, 60_000, (60_001,))  # type: ignore[arg-type]
    here, ahead = (Feed(batches, corruption, steps, world, one) for one in (False, True))
    for step in [*range(9), *range(4, steps.steps)]:  # a resumed run goes back
        one, other = here(step), ahead(step)
        assert len(one) == steps.of(step)[1].accumulation
        assert all(same(first, second) for first, second in zip(one, other, strict=True)), step
        list(batches.documents_of_steps(0, 2))  # as the loop asks meanwhile, of another epoch
    assert here.first_row(0) == 4


def same(one: Inputs, other: Inputs) -> bool:
    return all(np.array_equal(first, second) for first, second in zip(one, other, strict=True) if first is not None)
