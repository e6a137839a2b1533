"""A run in a real sqlite store: how it ends, and what it is called."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

STAGE = """
import time
from llm_core import tracking
with tracking.run("evaluate", {"seed": 1}) as run:
    print(run.run_id, flush=True)
    time.sleep(120)
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}", "LLM_CORE_TRACKING": "on"}


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGTERM]])
def test_a_stopped_stage_is_killed_in_the_store(
    tmp_path: Path, environment: dict[str, str], signals: list[signal.Signals]
) -> None:
    settings = {**environment, "DVC_STAGE": "dvc.yaml:evaluate@base", "DVC_EXP_NAME": "lr-1"}
    with subprocess.Popen(
        [sys.executable, "-c", STAGE],
        cwd=tmp_path,
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as stage:
        assert stage.stdout is not None and stage.stderr is not None
        run_id = stage.stdout.readline().strip()
        for number in signals:
            stage.send_signal(number)
        stage.wait(timeout=60)
        assert "KeyboardInterrupt" in stage.stderr.read()
    run = mlflow.MlflowClient(environment["MLFLOW_TRACKING_URI"]).get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("KILLED", "evaluate@base lr-1")
