"""DeepSpeed's ZeRO changes where numbers lie, not what is learned: each stage against a run without DeepSpeed."""

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.llm_core.training.finetuning import cases

STAGED = (("instruction", "llama"), ("contrastive", "bert"))
# LLaMA has no dropout: each process would draw its own
SPLIT = (("instruction", 2), ("instruction", 3), ("contrastive", 1))

Difference = Callable[[str, str, str], float]


@pytest.fixture(scope="module")
def difference(tmp_path_factory: pytest.TempPathFactory) -> Difference:
    """How much two runs of a family differ, as a share of how far the first moved from the base model."""
    folder = tmp_path_factory.mktemp("zero")
    alone = {
        f"{method}-stage-{stage}": {"method": method, "family": family, "max_steps": 4, "zero_stage": stage}
        for method, family in STAGED
        for stage in (None, 0, 1, 2, 3)
    }
    alone |= {
        f"{method}-alone": {"method": method, "family": "llama", "max_steps": 4, "micro_batch": 4}
        for method, _ in SPLIT
    }
    cases.run(alone, folder)
    both = {
        f"{method}-both-{stage}": {
            "method": method,
            "family": "llama",
            "max_steps": 4,
            "micro_batch": 2,
            "zero_stage": stage,
        }
        for method, stage in SPLIT
    }
    cases.run(both, folder, processes=2)

    def measure(family: str, first: str, second: str) -> float:
        weights = load_file(folder / f"base-{family}" / "model.safetensors")
        one, other = (load_file(Path(folder, name, "out", "model.safetensors")) for name in (first, second))
        base = {name: weights.get(name, weights.get(f"bert.{name}", weights.get(f"model.{name}"))) for name in one}
        moved = sum(float((weight - base[name]).abs().sum()) for name, weight in one.items())
        assert moved > 0
        return sum(float((weight - other[name]).abs().sum()) for name, weight in one.items()) / moved

    return measure


@pytest.mark.slow
@pytest.mark.parametrize(("method", "family"), STAGED)
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_every_stage_learns_what_training_without_deepspeed_learns(
    method: str, family: str, stage: int, difference: Difference
) -> None:
    assert difference(family, f"{method}-stage-None", f"{method}-stage-{stage}") < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("method", "stage"), SPLIT)
def test_two_processes_learn_what_one_learns_from_twice_the_batch(
    method: str, stage: int, difference: Difference
) -> None:
    assert difference("llama", f"{method}-alone", f"{method}-both-{stage}") < 0.01
