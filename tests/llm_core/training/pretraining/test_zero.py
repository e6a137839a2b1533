"""Settings that must not change the losses: ZeRO stage, world size, micro-batch and accumulation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

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
    return json.loads(together("matrix", folder, processes, cases, python).strip().splitlines()[-1])


def together(module: str, folder: Path, processes: int, cases: list[str], python: str = "") -> str:
    """What a module beside this one prints, run by so many processes of one group."""
    done = subprocess.run(
        [python or start.python(), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes),
         "-m", f"tests.llm_core.training.pretraining.{module}", str(folder), *cases],
        env=tiny.environment(), capture_output=True, text=True, cwd=Path(__file__).parents[4],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


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


WARM = ",pretraining.optimizer.momentum_warmup_steps=4"


@pytest.mark.slow
def test_muon_is_the_same_optimizer_in_every_stage(tmp_path: Path) -> None:
    """DeepSpeed's stages 1 to 3 would clip what Muon has orthogonalised; stage 0 clips nothing of the kind. At stage 3
    DeepSpeed reads the momentum once, so that its warm-up must be given to it in each step. With the optimizer's state
    offloaded DeepSpeed takes views of the updates, also of matrices with more rows than columns."""
    folder = tiny.make(tmp_path)
    slow = "pretraining.steps=10,pretraining.optimizer.momentum=0.99,pretraining.optimizer.muon_learning_rate=0.1,"
    cases = [f"{slow}{MUON.partition(',')[2]}{stage}{warm}" for warm in ("", WARM) for stage in range(4)]
    cases += [f"{cases[stage]},pretraining.offload=optimizer" for stage in (1, 2, 3)]
    found = losses(folder, 1, cases) | {f"{case}, two": values for case, values in losses(folder, 2, cases).items()}
    for case, values in found.items():
        assert values == pytest.approx(found[cases[4 if WARM in case else 0]], rel=1e-4), case  # in bfloat16
    assert abs(found[cases[0]][-1] / found[cases[4]][-1] - 1) > 1e-3, "the warm-up has an effect"


@pytest.mark.slow
def test_the_same_weights_are_muons_in_every_stage(tmp_path: Path) -> None:
    """By what the first step does: Muon's update of a matrix has a norm near 1, AdamW's is its rate for each weight.

    Without decay, so that the step is the update alone; both rates are a third in the first step of a warm-up of two.
    After four steps all stages and numbers of processes have the same weights, also where the second step is skipped
    as a spike, which moves no momentum, whether its gradients are finite or not.
    """
    folder = tiny.make(tmp_path)
    case = "pretraining.steps=4,pretraining.optimizer.name=muon,pretraining.optimizer.weight_decay=0"
    kinds = ("plain", "spike", "spike_infinite")
    for processes in (1, 2):
        stages = {f"{kind}{stage}-{processes}": stage for kind in kinds for stage in range(4)}
        cases = [f"{name}={case},pretraining.zero_stage={stage}" for name, stage in stages.items()]
        together("updates", folder, processes, cases)
    blocks = {f"model.layers.{layer}.{matrix}.weight" for layer in (0, 1) for matrix in MATRICES}
    for kind in kinds:
        reference = torch.load(folder / "updates" / f"{kind.removesuffix('_infinite')}0-1.pt")["last"]
        for stage in range(4):
            for processes in (1, 2):
                name = f"{kind}{stage}-{processes}"
                found = torch.load(folder / "updates" / f"{name}.pt")
                split = {weight: kind_of_update(*values) for weight, values in found["first"].items()}
                assert split == {weight: "muon" if weight in blocks else "adamw" for weight in reference}, name
                for weight, value in found["last"].items():
                    assert (value - reference[weight]).abs().max() < TOLERANCE, (name, weight)


MATRICES = (
    *(f"self_attn.{part}_proj" for part in "qkvo"), *(f"mlp.{part}_proj" for part in ("gate", "up", "down")),
)  # fmt: skip
RATES = {"adamw": 0.01 / 3, "muon": 0.02 / 3}
TOLERANCE = 1e-4  # after four steps, each of which moves a weight by up to 0.02


def kind_of_update(before: torch.Tensor, after: torch.Tensor) -> str:
    """Which optimizer has made the update: `muon`, `adamw`, or `neither`."""
    step = (before - after).double()
    moved = step[step != 0].abs() / RATES["adamw"]
    if moved.numel() and (moved - 1).abs().median() < 0.01 and moved.max() < 1.01:
        return "adamw"
    if step.dim() == 2:
        largest = torch.linalg.svdvals(step / RATES["muon"]).max() / max(1.0, step.size(0) / step.size(1)) ** 0.5
        if (
            1.0 < largest < 1.3
        ):  # the largest singular values of Jordan's iteration are 1.13 to 1.2, whatever the gradient
            return "muon"
    return "neither"


@pytest.mark.slow
def test_the_held_out_loss_is_the_same_for_any_number_of_processes(tmp_path: Path) -> None:
    """Of a masked and of a span model, on rows that are read once each, with the same tokens hidden."""
    folder = tiny.make(tmp_path)
    cases = [f"pretraining.steps=2,model.family={family}" for family in ("bert", "t5")]
    one, two = losses(folder, 1, cases), losses(folder, 2, cases)
    for case in cases:
        assert two[case] == pytest.approx(one[case], rel=1e-5), case


@pytest.mark.slow
def test_compiled_blocks_give_the_same_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    folder = tiny.make(tmp_path)
    cases = [f"{MUON}1", f"{MUON}1,pretraining.compile=true"]
    found = losses(folder, 1, cases, sys.executable)  # whose compiler begins without what a fork would inherit
    plain, compiled = (found[case] for case in cases)
    assert compiled[:6] + compiled[-1:] == pytest.approx(plain[:6] + plain[-1:], rel=1e-4)
    assert compiled[6:-1] == pytest.approx(plain[6:-1], rel=1e-3)  # norms of gradients
    assert list((tmp_path / "cache").rglob("*.cpp"))  # something was compiled
