"""Resuming after kill -9 gives the weights of an uninterrupted run; another world size can resume too."""

import signal
from pathlib import Path
from typing import Any

import pytest

from llm_core.errors import UserError
from llm_core.lineage.training import training_data
from llm_core.runtime import json_lines
from llm_core.runtime.storage import read_json
from llm_core.training.pretraining.checkpoints import Checkpoints
from llm_core.training.pretraining.phases import loader_from_state
from llm_core.training.pretraining.run_log import SPIKE, spike_rows
from tests.llm_core.training.pretraining import kills, tiny

SPEEDRUN = {
    "model__family": "speedrun", "pretraining__zero_stage": 0, "pretraining__optimizer__name": "normuon",
    "pretraining__optimizer__cautious_decay": True, "pretraining__optimizer__momentum_warmup_steps": 10,
}  # fmt: skip
YARN = {"rope_theta": 20_000, "rope_scaling": {"rope_type": "yarn", "factor": 2}}
IN_PARTS = {
    "pretraining__zero_stage": 3, "pretraining__sequence_parallel": 2, "pretraining__optimizer__name": "muon",
    "pretraining__optimizer__momentum_warmup_steps": 14, "pretraining__early_stopping": 2,
    "pretraining__evaluate_every": 1, "pretraining__checkpoint_every": 3,
}  # fmt: skip


@pytest.mark.slow
def test_a_cancelled_training_says_from_where_it_goes_on(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path)
    settings = {"launch__pretraining__processes": 1, "pretraining__steps": 2000}
    step, said = kills.interrupt(folder, 4, number=signal.SIGINT, **settings)
    (line,) = [line for line in said.splitlines() if "the same training goes on" in line]
    assert f"of 2000; the same training goes on after step {step}, kept in .scratch/pretraining/" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "deaths", "changes"),
    [
        pytest.param(1, 2, SPEEDRUN, id="one, speedrun"),
        pytest.param(2, 1, {}, id="two, llama"),
        pytest.param(2, 2, IN_PARTS, id="two, in parts", marks=pytest.mark.long),
    ],
)
def test_killed_runs_end_with_the_same_bytes(
    tmp_path: Path, processes: int, deaths: int, changes: dict[str, Any]
) -> None:
    """In phases whose sequences, batches, data, passes and rotary positions differ; at random steps.

    The last phase diverges, so that steps are unusual; where a run may end early it does so there.
    """
    folder = tiny.make(tmp_path)
    settings: dict[str, Any] = {
        "launch__pretraining__processes": processes,
        "pretraining__steps": None,
        "pretraining__phases": [
            {"name": "short", "steps": 9, "sequence_length": 16, "batch_tokens": 128},
            {"name": "long", "steps": 11, "learning_rate": 0.5, "mixture": {"weights": {"x": 1}}} | YARN,
            {"name": "high", "steps": 3, "learning_rate": 200, "sequence_length": 16},
        ],
        "pretraining__checkpoint_every": 2,
        "pretraining__snapshot_every": 6,
    } | changes
    whole = tiny.run(folder, "whole", **settings)
    assert whole.returncode == 0, whole.stderr
    kills.survive(folder, deaths, seed=1, **settings)
    kept = [f"snapshots/step{step:08d}/{name}" for step in (6, 12, 18) for name in ("model.safetensors", "config.json")]
    for name in ("model.safetensors", "training_log.jsonl", "metrics.json", *kept):
        assert (folder / "whole" / name).read_bytes() == (folder / "killed" / name).read_bytes()
    assert len(list((folder / "killed" / "snapshots").iterdir())) == 3
    assert not list(folder.glob(".scratch/pretraining/*/step*"))
    record, metrics = (read_json(folder / "whole" / name) for name in ("training_data.json", "metrics.json"))
    steps = 22 if "pretraining__early_stopping" in changes else 23
    assert record["steps"] == metrics["steps"] == steps and record["tokens"] == "tokens/train"
    assert metrics["tokens"] == 9 * 128 + 11 * 256 + (steps - 20) * 256
    ropes = [read_json(folder / "whole" / part / "config.json")["rope_parameters"] for part in (kept[0][:22], "")]
    assert [rope["rope_type"] for rope in ropes] == ["default", "yarn"]
    _steps_say_whose_loss_they_have(folder, steps)


def _steps_say_whose_loss_they_have(folder: Path, steps: int) -> None:
    """Each logged step has the loss of each source; an unusual step names documents that it trained on."""
    log = folder / "whole" / "training_log.jsonl"
    rows = {row["step"]: row for row in json_lines.load_rows(log) if "loss" in row}
    assert {*rows[1]} >= {"loss/x", "loss/y"} and "loss/y" not in rows[12]
    assert rows[12]["loss/x"] == pytest.approx(rows[12]["loss"], rel=1e-6)
    assert min(rows[1]["loss/x"], rows[1]["loss/y"]) < rows[1]["loss"] < max(rows[1]["loss/x"], rows[1]["loss/y"])
    spikes = [row for row in json_lines.load_rows(log) if SPIKE in row]
    assert read_json(folder / "whole" / "metrics.json")["spikes"] == len({row["step"] for row in spikes})
    assert bool(spikes) == (steps == 23), "the update of the last step is skipped"
    record = training_data(folder / "whole")
    assert record
    loader = loader_from_state(folder / "tokens" / "train", record.loader)
    for row in spikes:
        ((_, seen),) = loader.documents_of_steps(row["step"] - 1, row["step"])
        assert row["step"] > 20 and {one["id"] for one in row["documents"]} <= {item.id for item in seen}
        assert row["documents"] and row["value"] > row["median"]
    for row in spike_rows(log, Path("whole"))[-1:]:
        assert row["all documents"] == f"llm-core documents --model whole --steps {spikes[-1]['step'] - 1}"


def test_muon_goes_on_only_with_as_many_processes(tmp_path: Path) -> None:
    """DeepSpeed's universal format has no place for its momentum; the error says what to set."""
    written = tmp_path / "step00000002", {"world_size": 2, "zero_stage": 1}
    with pytest.raises(UserError, match=r"by 2 process\(es\) at ZeRO stage 1.* set launch.pretraining.processes"):
        Checkpoints(tmp_path, 1, True).load(None, written, 1, 1, muon=True)


@pytest.mark.slow
def test_two_processes_to_one_and_back_by_universal_checkpoint(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path)
    settings = {"pretraining__steps": 18, "pretraining__checkpoint_every": 3}
    whole = tiny.run(folder, "whole", **settings)
    assert whole.returncode == 0, whole.stderr
    first, _ = kills.interrupt(folder, 3, launch__pretraining__processes=2, **settings)
    second, _ = kills.interrupt(folder, first + 3, launch__pretraining__processes=1, **settings)
    assert first < second < 18
    last = tiny.run(folder, "killed", launch__pretraining__processes=2, pretraining__zero_stage=2, **settings)
    assert last.returncode == 0, last.stderr
    assert f"resumed after step {second} of 18" in last.stderr
    assert tiny.losses(folder, "killed") == pytest.approx(tiny.losses(folder, "whole"), rel=1e-4)
