"""A run in a real sqlite store: its end and its name."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from llm_core.tracking import runs

STAGE = """
import time
from llm_core.tracking import runs as tracking
with tracking.run("evaluate", {"seed": 1}) as run:
    print(run.run_id, flush=True)
    while True:  # one long sleep would outlast a signal that comes just before it
        time.sleep(0.1)
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


def test_a_transcript_is_a_trace_and_the_last_metrics_are_read(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", environment["MLFLOW_TRACKING_URI"])
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    monkeypatch.chdir(tmp_path)
    with runs.run("pretrain-llama", {}) as run:
        run.metrics({"loss": 4.5}, step=1)
    assert runs.last_metrics("pretrain") == {"loss": 4.5} and runs.last_metrics("x' OR 1") == {}
    call = {"tool": "calculator", "input": {"text": "1+1"}, "output": "2"}
    runs.trace("agent", {"question": "1+1?"}, [call], {"answer": "2"})
    (found,) = mlflow.search_traces(return_type="list", locations=[run.experiment_id])
    assert [span.name for span in found.data.spans] == ["agent", "calculator"]
    assert found.data.spans[0].outputs == {"answer": "2"} and found.data.spans[1].inputs == {"text": "1+1"}


def test_a_refused_name_loses_no_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    monkeypatch.chdir(tmp_path)
    values = {"bits_per_byte/c++": 1.5, "bits_per_byte/c--": 1.25, "../up": 1.0, "": 2.0, "x" * 400: 3.0, "none": None}
    with runs.run("evaluate", {"sources.c++": 1, "sources.c??": 2}, {"changed.c++": "x"}) as run:
        run.metrics(values | {"word": "text", "endless": float("inf"), "missing": float("nan")})
    found = mlflow.MlflowClient(runs.tracking_uri()).get_run(run.run_id)
    numbers = [value for value in found.data.metrics.values() if value == value]
    assert sorted(numbers) == [1.0, 1.25, 1.5, 2.0, 3.0]
    assert sorted(found.data.params.values()) == ["1", "2"] and found.data.tags["changed.c__"] == "x"
    assert found.data.tags[runs.LOST] == "endless" and found.info.status == "FINISHED"


def test_a_batch_that_the_store_refuses_is_written_one_by_one_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    monkeypatch.chdir(tmp_path)
    with runs.run("evaluate", {}) as run:
        monkeypatch.setitem(run._names, "metric", lambda name: name)  # as if a newer MLflow refused more names
        run.metrics({"good": 1.0, "bad+": 2.0})
    found = mlflow.MlflowClient(runs.tracking_uri()).get_run(run.run_id)
    assert found.data.metrics == {"good": 1.0} and found.data.tags[runs.LOST] == "bad+"
    assert "1 metric(s) not recorded" in capsys.readouterr().err


def test_a_final_figure_is_no_first_point_of_its_curve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    monkeypatch.chdir(tmp_path)
    with runs.run("pretrain-llama", {}) as run:
        for step, value in ((100, 2.5), (200, 2.0)):
            run.metrics({"heldout": value}, step)
        run.metrics({"heldout": 2.0, "parameters": 7})
    history = mlflow.MlflowClient(runs.tracking_uri()).get_metric_history(run.run_id, "heldout")
    assert [(point.step, point.value) for point in history] == [(100, 2.5), (200, 2.0)]
