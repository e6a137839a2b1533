"""Resuming after kill -9 gives the weights of an uninterrupted run; another world size can resume too."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.llm_core.training.pretraining import kills, tiny

SPEEDRUN = {
    "model__family": "speedrun", "pretraining__zero_stage": 0, "pretraining__optimizer__name": "normuon",
    "pretraining__optimizer__cautious_decay": True, "pretraining__optimizer__momentum_warmup_steps": 10,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "changes"), [(1, SPEEDRUN), (2, {})], ids=["one, speedrun", "two, llama"])
def test_killed_runs_end_with_the_same_bytes(tmp_path: Path, processes: int, changes: dict[str, Any]) -> None:
    """In phases whose sequences, batches, data and passes differ; one kill is before the boundary, one after it."""
    folder = tiny.make(tmp_path)
    settings: dict[str, Any] = {
        "launch__pretraining__processes": processes,
        "pretraining__steps": None,
        "pretraining__phases": [
            {"name": "short", "steps": 9, "sequence_length": 16, "batch_tokens": 128},
            {
                "name": "long",
                "steps": 11,
                "learning_rate": 0.5,
                "mixture": {"weights": {"x": 1}},
                "rope_theta": 20_000,
                "rope_scaling": {"rope_type": "yarn", "factor": 2},
            },
            {"name": "high", "steps": 3, "learning_rate": 200, "sequence_length": 16},
        ],
        "pretraining__checkpoint_every": 2,
        "pretraining__snapshot_every": 6,
    } | changes
    whole = tiny.run(folder, "whole", **settings)
    assert whole.returncode == 0, whole.stderr
    kills.survive(folder, 2, seed=1, **settings)
    kept = [f"snapshots/step{step:08d}/{name}" for step in (6, 12, 18) for name in ("model.safetensors", "config.json")]
    for name in ("model.safetensors", "training_log.jsonl", "metrics.json", *kept):
        assert (folder / "whole" / name).read_bytes() == (folder / "killed" / name).read_bytes()
    assert len(list((folder / "killed" / "snapshots").iterdir())) == 3
    assert not list(folder.glob(".scratch/pretraining/*/step*"))
    record = json.loads((folder / "whole" / "training_data.json").read_text())
    assert record["steps"] == 20 and record["tokens"] == "tokens/train"
    assert json.loads((folder / "whole" / "metrics.json").read_text())["tokens"] == 9 * 128 + 11 * 256


@pytest.mark.slow
def test_two_processes_to_one_and_back_by_universal_checkpoint(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path)
    settings = {"pretraining__steps": 18, "pretraining__checkpoint_every": 3}
    whole = tiny.run(folder, "whole", **settings)
    assert whole.returncode == 0, whole.stderr
    first = kills.interrupt(folder, 3, launch__pretraining__processes=2, **settings)
    second = kills.interrupt(folder, first + 3, launch__pretraining__processes=1, **settings)
    assert first < second < 18
    last = tiny.run(folder, "killed", launch__pretraining__processes=2, pretraining__zero_stage=2, **settings)
    assert last.returncode == 0, last.stderr
    assert f"resumed after step {second} of 18" in last.stderr
    assert tiny.losses(folder, "killed") == pytest.approx(tiny.losses(folder, "whole"), rel=1e-4)
