"""Settings that must not change the losses: ZeRO stage, world size, micro-batch and accumulation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.llm_core.training.pretraining import tiny
from tests.waiting import wait
from tests.warm import start

CASES = [
    *(f"pretraining.steps=6,pretraining.zero_stage={stage}" for stage in range(4)),
    "pretraining.steps=6,pretraining.micro_batch=1",
    "pretraining.steps=6,pretraining.micro_batch=8",  # more than one of two processes has
    "pretraining.steps=6,pretraining.micro_batch=2,pretraining.zero_stage=2",
    "pretraining.steps=6,pretraining.activation_checkpointing=true",
    "pretraining.steps=6,model.attention=sdpa",
    "pretraining.steps=6,pretraining.loss_chunk=5",
]


def losses(folder: Path, processes: int, cases: list[str], python: str = "") -> dict[str, list[float]]:
    done = subprocess.run(
        [python or start.python(), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
         "-m", "tests.llm_core.training.pretraining.matrix", str(folder), *cases],
        env=tiny.environment(), capture_output=True, text=True, cwd=Path(__file__).parents[4],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def buffers() -> set[Path]:
    return set(Path("/dev/shm").glob("deepspeed_allreduce_buffer*"))


MUON = "pretraining.steps=6,pretraining.optimizer.name=muon,pretraining.zero_stage="


@pytest.mark.slow
def test_zero_stages_world_sizes_and_accumulation_agree_to_five_digits(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path)
    before = buffers()
    one, two = losses(folder, 1, CASES), losses(folder, 2, CASES)
    reference = one[CASES[0]]
    # DeepSpeed itself leaves 69 MB of shared memory a rank behind; other tests' ranks have such for a moment
    wait(lambda: buffers() <= before, 120, "no buffer of shared memory to be left")
    assert reference[0] > reference[5]  # it learns; the last figure is held-out bits per byte
    for found in (one, two):
        for case, values in found.items():
            assert values == pytest.approx(reference, rel=1e-5), case


@pytest.mark.slow
def test_muon_is_the_same_optimizer_in_every_stage(tmp_path: Path) -> None:
    """DeepSpeed's stages 1 to 3 would clip what Muon has orthogonalised; stage 0 clips nothing of the kind."""
    folder = tiny.make(tmp_path)
    cases = [f"{MUON}{stage}" for stage in range(4)]
    found = losses(folder, 1, cases) | {f"{case}, two": values for case, values in losses(folder, 2, cases).items()}
    for case, values in found.items():
        assert values == pytest.approx(found[cases[0]], rel=1e-4), case  # orthogonalised in bfloat16


@pytest.mark.slow
def test_compiled_blocks_give_the_same_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    folder = tiny.make(tmp_path)
    cases = [f"{MUON}1", f"{MUON}1,pretraining.compile=true"]
    found = losses(folder, 1, cases, sys.executable)  # whose compiler begins without what a fork would inherit
    assert found[cases[1]] == pytest.approx(found[cases[0]], rel=1e-4)
    assert list((tmp_path / "cache").rglob("*.cpp"))  # something was compiled
