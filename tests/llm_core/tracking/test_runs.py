"""A run in a real sqlite store: its end and its name."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import mlflow
import pytest

from llm_core.tracking import lookup, runs
from tests.waiting import wait
from tests.warm import start

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
    settings = {
        **environment,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "DVC_STAGE": "dvc.yaml:evaluate@base",
        "DVC_EXP_NAME": "lr-1",
    }
    with subprocess.Popen(
        start.script(),
        cwd=tmp_path,
        env=settings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as stage:
        assert stage.stdin is not None and stage.stdout is not None and stage.stderr is not None
        stage.stdin.write(STAGE)
        stage.stdin.close()
        run_id = stage.stdout.readline().strip()
        for number in signals:
            stage.send_signal(number)
        stage.wait(timeout=60)
        assert "KeyboardInterrupt" in stage.stderr.read()
    run = mlflow.MlflowClient(environment["MLFLOW_TRACKING_URI"]).get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("KILLED", "evaluate@base lr-1")


def test_the_last_metrics_of_a_stage_are_read(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", environment["MLFLOW_TRACKING_URI"])
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    monkeypatch.chdir(tmp_path)
    with runs.run("pretrain-llama", {}) as run:
        run.metrics({"loss": 4.5}, step=1)
    assert lookup.last_metrics("pretrain") == {"loss": 4.5} and lookup.last_metrics("x' OR 1") == {}


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


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store without runs: to make one takes MLflow some seconds, to copy it none."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> mlflow.MlflowClient:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    monkeypatch.chdir(tmp_path)
    return mlflow.MlflowClient(runs.tracking_uri())


def test_a_name_says_which_params_differ_from_the_run_before(
    store: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = []
    for stage, params in (
        ("pretrain-llama", {"model.width": 64, "pretraining.steps": 10}),
        ("finetune-mood", {"pretraining.steps": 7}),
        ("pretrain-llama", {"model.width": 64, "pretraining.steps": 20}),
        ("pretrain-llama", {"model.width": 64, "pretraining.steps": 20}),
        ("pretrain-llama", {"model.width": 32, "pretraining.steps": 5, "seed": 1}),
    ):
        with runs.run(stage, params) as run:
            pass
        names.append(store.get_run(run.run_id).info.run_name)
    expected = ["pretrain-llama", "finetune-mood", "pretrain-llama steps=20", "pretrain-llama"]
    assert names == [*expected, "pretrain-llama width=32 steps=5"], "seed has no value in the run before"
    many = {f"a.b{number}": number for number in range(5)}
    for shift in (0, 1):
        with runs.run("word2vec", {key: value + shift for key, value in many.items()}) as run:
            pass
    assert store.get_run(run.run_id).info.run_name == "word2vec b0=1 b1=2 b2=3 +2"
    changes = {"optimizer.muon_learning_rate": "0.03", "model.layers": "3", "model.width": "0.03"}
    assert runs._shown(changes, "muon-0.03") == "layers=3 width=0.03", "the experiment's name says the first"


def test_kinds_of_runs_are_in_experiments_of_their_own(store: mlflow.MlflowClient) -> None:
    began = time.time() - 60
    with runs.run("evaluate", {}, {"model": "m"}, kind="evaluation", about="abcd", started=began) as evaluation:
        evaluation.describe("**good**")
        evaluation.table([{"prompt": "<b>", "continuation": "x"}], "samples.html")
    with runs.run("pretrain-llama", {}) as training:
        training.metrics({"loss": 2.0}, 1)
    found = store.get_run(evaluation.run_id)
    assert (found.info.run_name, found.data.tags["mlflow.note.content"]) == ("evaluate abcd", "**good**")
    assert found.info.end_time - found.info.start_time >= 60_000, "from the beginning of the work"
    assert [file.path for file in store.list_artifacts(evaluation.run_id)] == ["samples.html"]
    page = Path(store.download_artifacts(evaluation.run_id, "samples.html")).read_text()
    assert "<td>&lt;b&gt;</td><td>x</td>" in page
    kept = {each.name: each for each in store.search_experiments() if each.name.startswith("llm-pipeline")}
    assert {name: each.experiment_id for name, each in kept.items()} == {
        "llm-pipeline": training.experiment_id, "llm-pipeline-evaluation": evaluation.experiment_id,
    }  # fmt: skip
    assert kept["llm-pipeline"].tags["mlflow.note.content"].startswith("Trainings: ")
    assert lookup.last_metrics("pretrain") == {"loss": 2.0}


def test_an_experiment_of_an_earlier_version_is_described_and_kept(store: mlflow.MlflowClient) -> None:
    before = store.create_experiment("llm-pipeline")
    with runs.run("pretrain-llama", {}) as run:
        pass
    assert run.experiment_id == before
    assert store.get_experiment(before).tags["mlflow.note.content"].startswith("Trainings: ")


def test_a_training_has_the_computers_load_beside_its_loss(
    store: mlflow.MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    with runs.run("pretrain-llama", {}) as training:
        wait(lambda: "system/system_memory_usage_megabytes" in store.get_run(training.run_id).data.metrics, 60)
    with runs.run("evaluate", {}, kind="evaluation") as evaluation:
        time.sleep(0.5)
    assert not store.get_run(evaluation.run_id).data.metrics
