"""Learning rates by hand."""

import pytest
from pydantic import ValidationError

from llm_core.params.pretraining import Optimizer
from llm_core.training.pretraining.schedule import learning_rate_share, momentum


def shares(schedule: str, steps: int, **settings: float) -> list[float]:
    optimizer = Optimizer(schedule=schedule, **settings)  # type: ignore[arg-type]
    return [learning_rate_share(step, steps, optimizer) for step in range(steps)]


def test_linear() -> None:
    assert shares("linear", 7, warmup_steps=2, final_share=0) == pytest.approx([1 / 3, 2 / 3, 1, 0.75, 0.5, 0.25, 0])


def test_cosine_ends_at_its_floor_and_is_halfway_in_the_middle() -> None:
    found = shares("cosine", 5, warmup_steps=0, final_share=0.2)
    assert found[0] == 1 and found[2] == pytest.approx(0.6) and found[4] == pytest.approx(0.2)


def test_wsd_is_flat_then_falls() -> None:
    found = shares("wsd", 10, warmup_steps=1, decay_share=0.4, final_share=0)
    assert found == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0])


def test_phases_count_by_their_tokens() -> None:
    """Steps of 1, 1, 1, 3 and 3 tokens: the fourth begins after 3 of the 6 tokens before the last step."""
    before = [0, 1, 2, 3, 6, 9].__getitem__
    linear = Optimizer(schedule="linear", warmup_steps=0, final_share=0)
    found = [learning_rate_share(step, 5, linear, before) for step in range(5)]
    assert found == pytest.approx([1, 5 / 6, 4 / 6, 3 / 6, 0])


def test_momentum_rises_to_its_value_and_stays() -> None:
    found = [momentum(step, Optimizer(name="muon", momentum=0.95, momentum_warmup_steps=4)) for step in range(6)]
    assert found == pytest.approx([0.85, 0.875, 0.9, 0.925, 0.95, 0.95])
    with pytest.raises(ValidationError, match="no effect with adamw"):
        Optimizer(momentum_warmup_steps=4)
    assert momentum(0, Optimizer(momentum=0.95)) == 0.95 and momentum(0, Optimizer(momentum=0.5)) == 0.5
