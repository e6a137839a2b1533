"""DeepSpeed's ZeRO changes where numbers lie, not what is learned: each stage against a run without DeepSpeed."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.llm_core.training.finetuning import tiny


def train(method: str, family: str, name: str, processes: int = 1, **knobs: object) -> dict[str, torch.Tensor]:
    """The exported weights of a tiny finetuning in processes of its own."""
    if not Path("base").exists():
        tiny.model(family, Path("base"))
        tiny.rows(method)
    Path("run.py").write_text(
        "import torch; torch.set_num_threads(1); from tests.llm_core.training.finetuning import tiny\n"
        f"tiny.finetune({method!r}, 'base', 'rows-{method}', **{knobs!r})\n"
    )
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"] if processes == 2 else []
    subprocess.run([sys.executable, *launcher, "run.py"], env=tiny.environment(), check=True)
    Path("out").rename(name)
    return load_file(f"{name}/model.safetensors")


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """How much two runs differ, as a share of how far the first moved from `base`."""
    weights = load_file("base/model.safetensors")
    base = {name: weights.get(name, weights.get(f"bert.{name}", weights.get(f"model.{name}"))) for name in one}
    moved = sum(float((weight - base[name]).abs().sum()) for name, weight in one.items())
    return sum(float((weight - other[name]).abs().sum()) for name, weight in one.items()) / moved


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")


@pytest.mark.slow
@pytest.mark.parametrize(("method", "family"), [("instruction", "llama"), ("contrastive", "bert")])
def test_every_stage_learns_what_training_without_deepspeed_learns(method: str, family: str) -> None:
    plain = train(method, family, "plain", max_steps=4)
    for stage in (0, 1, 2, 3):
        assert difference(plain, train(method, family, f"stage{stage}", max_steps=4, zero_stage=stage)) < 0.01


@pytest.mark.slow
@pytest.mark.parametrize(("method", "stage"), [("instruction", 2), ("instruction", 3), ("contrastive", 1)])
def test_two_processes_learn_what_one_learns_from_twice_the_batch(method: str, stage: int) -> None:
    """LLaMA, which has no dropout: each process would draw its own."""
    plain = train(method, "llama", "plain", max_steps=4, micro_batch=4)
    both = train(method, "llama", "both", 2, max_steps=4, micro_batch=2, zero_stage=stage)
    assert difference(plain, both) < 0.01
