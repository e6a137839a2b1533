"""The run log: a verb's row has the MLflow run that its training process opened."""

import time
from pathlib import Path

import pytest

from llm_core.runtime import timings

ARGUMENTS = ["pretrain", "--out", "data/models/base"]


def test_a_verb_has_the_mlflow_run_of_the_process_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").touch()
    started = time.monotonic()
    monkeypatch.setattr(timings, "NOTES", {"mlflow_run_id": "abc", "mlflow_experiment_id": "1"})
    timings.record("pretrain", ARGUMENTS, started, failed=False)  # as in the training process
    monkeypatch.setattr(timings, "NOTES", {})
    timings.record("pretrain", ARGUMENTS, started, failed=False)
    timings.record("pretrain", ["pretrain", "--out", "other"], started, failed=False)
    assert [row.get("mlflow_run_id") for row in timings.last()] == ["abc", None]
    timings.record("pretrain", ARGUMENTS, time.monotonic() + 5, failed=False)  # another run, five seconds later
    assert timings.last()[-1].get("mlflow_run_id") is None
