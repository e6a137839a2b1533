"""Whether a run is compiled: the break-even by hand, the choice that a checkpoint keeps, kinds of blocks."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from llm_core.models.family import Vocabulary
from llm_core.models.networks import build_config, build_network
from llm_core.params.model import Model
from llm_core.params.pretraining import Pretraining
from llm_core.runtime.storage import read_json, write_json
from llm_core.tracking.runs import Run
from llm_core.training.pretraining import machine
from llm_core.training.pretraining.compiling import GAIN, PASSES, SECONDS, Choice, choose, kinds, weigh
from llm_core.training.pretraining.engine import World
from llm_core.training.pretraining.phases import plan_phases
from llm_core.training.pretraining.reporting import Reports
from llm_core.training.pretraining.run_log import RunLog
from tests.llm_core.training.pretraining import kills, tiny

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
PEAK = 1e9  # operations a second
TOLERANCE = 1e-3  # of losses in bf16, which compiled blocks round elsewhere; measured: 6e-5


def network(**knobs: Any) -> Any:
    model = Model.model_validate({"layers": 2, "width": 32, "heads": 2, "feed_forward": 64} | knobs)
    return build_network(build_config(model, Vocabulary(64, 0, 1, 2), 32), model.attention, 0)


def reports(seconds: float, **knobs: Any) -> Reports:
    """A run of 10 steps of 32 tokens that takes so many seconds, as the rule estimates them."""
    settings = Pretraining.model_validate({"sequence_length": 32, "micro_batch": 1, **knobs})
    plan = plan_phases(settings, 32, 10, 1)
    operations = seconds / (1 / PEAK + PASSES) / plan.tokens
    log = RunLog(Path("none"), False)
    return Reports(settings, plan, World(0, 1, 0), log, Run(None, "", ""), lambda _: operations, PEAK)


def test_a_run_is_compiled_when_it_saves_more_than_it_costs() -> None:
    even = SECONDS / GAIN  # seconds of training whose saved share is what one graph costs
    assert [choose("auto", reports(even * of), network(), CPU, "bf16").compiled for of in (0.99, 1.01)] == [False, True]
    phases = [{"name": "a", "share": 1, "sequence_length": 16}, {"name": "b", "share": 1}]
    twice = reports(1.5 * even, phases=phases, steps=10)
    assert not choose("auto", twice, network(), CPU, "bf16").compiled, "sequences of two lengths need two graphs"
    said = weigh(2, even, 600).why
    assert f"about {2 * SECONDS:.0f} CPU s (2 graph(s))" in said and "pays from 1,200 steps on" in said


def test_what_is_asked_for_is_done_and_a_gpu_always_compiles() -> None:
    short, long = reports(1), reports(1e6)
    assert [choose(asked, short, network(), CPU, "bf16").compiled for asked in (True, False)] == [True, False]
    assert choose("auto", short, network(), GPU, "bf16").compiled
    assert not choose("auto", reports(1e6, zero_stage=3), network(), GPU, "bf16").compiled
    assert not choose("auto", reports(1e6, sequence_parallel=2), network(), CPU, "bf16").compiled
    assert "in fp32 on a CPU is not measured" in choose("auto", long, network(), CPU, "fp32").why
    assert "has none" in choose("auto", long, network(family="lstm"), CPU, "bf16").why


def test_blocks_of_a_kind_share_a_graph() -> None:
    assert kinds(network()) == 1
    assert kinds(network(family="olmo3", layers=4, sliding_window=8)) == 2, "three layers of four have a window"
    assert kinds(network(family="lstm")) == 0


def test_a_resumed_run_follows_its_checkpoint() -> None:
    auto = Choice(False, "too short")
    assert auto.as_begun(None) == auto.as_begun(False) == auto
    assert auto.as_begun(True) == Choice(True, "blocks are compiled, because the run began so")


@pytest.mark.slow
@pytest.mark.long
def test_compiled_runs_train_what_an_uncompiled_one_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16, where `auto` compiles a run that is long for the machine: here one of a slow peak, as its cache says."""
    folder = tiny.make(tmp_path)
    key = f"{machine._processor()}, 1 threads, bf16, torch {torch.__version__}"
    (tmp_path / "cache" / "llm_core").mkdir(parents=True)
    write_json(tmp_path / "cache" / "llm_core" / "matmul_peak.json", {key: PEAK / 1e6})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    found = {}
    for asked, compiled in ((False, False), (True, True), ("auto", True)):
        settings = {"pretraining__precision": "bf16", "pretraining__compile": asked}
        command = tiny.command(folder, str(asked), **settings)  # not in a warm process, from which the compiler forks
        done = subprocess.run(command, cwd=folder, env=tiny.environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        metrics = read_json(folder / str(asked) / "metrics.json")
        assert metrics["compiled"] is compiled and metrics["precision"] == "bf16", done.stderr
        found[asked] = [*tiny.losses(folder, str(asked)), metrics["heldout_bits_per_byte"]]
    assert "it pays from" in done.stderr and list((tmp_path / "inductor").rglob("*.cpp"))
    assert found["auto"] == found[True], "the same graphs"
    assert found[True] == pytest.approx(found[False], rel=TOLERANCE)


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_run_goes_on_as_it_began(tmp_path: Path) -> None:
    """A run whose checkpoint says that it is compiled is compiled after its kill, where `auto` alone would not."""
    folder = tiny.make(tmp_path)
    short, said = kills.interrupt(folder, 2)
    assert "blocks are not compiled: what that saves in fp32 on a CPU" in said, said
    (checkpoint,) = [
        file for file in folder.glob(".scratch/pretraining/*/step*/complete.json")
        if file.parent.name == f"step{short:08d}"
    ]  # fmt: skip
    state = read_json(checkpoint)
    assert state["compiled"] is False
    write_json(checkpoint, state | {"compiled": True})
    done = tiny.run(folder, "killed")
    assert done.returncode == 0 and "compiled, because the run began so" in done.stderr, done.stderr
    assert read_json(folder / "killed" / "metrics.json")["compiled"] is True
