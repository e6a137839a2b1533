"""DVC experiments become MLflow runs under one parent, with the changed params as tags; `exp apply` gives them back."""

from pathlib import Path

import pytest

from tests.pipelines import toy_project as toy


@pytest.mark.slow
def test_a_grid_stands_under_one_parent(tracked: Path) -> None:
    import mlflow

    toy.dvc(tracked, "exp", "run", "--queue", "-S", "cleaning.min_length=3,4", "report")
    toy.dvc(tracked, "queue", "start", "-j", "1")
    wait_for_queue(tracked)

    client = mlflow.MlflowClient(f"sqlite:///{tracked / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("llm-pipeline")
    assert experiment is not None and str(tracked) in experiment.artifact_location
    runs = client.search_runs([experiment.experiment_id])
    parents = [run for run in runs if "dvc.parent_of" in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    assert parents[0].data.tags["dvc.parent_of"] == toy.run(tracked, "git", "rev-parse", "HEAD").strip()
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parents[0].info.run_id}
    found = {run.data.tags["changed.cleaning.min_length"]: run.data.metrics["words"] for run in children}
    assert found == {"3": 2, "4": 0}
    assert {run.data.tags["dvc.stage"] for run in children} == {"report"}

    three = next(run for run in children if run.data.tags["changed.cleaning.min_length"] == "3")
    toy.dvc(tracked, "exp", "apply", three.data.tags["dvc.experiment"])
    assert "min_length: 3" in (tracked / "params.yaml").read_text()
    assert "didn't change" in toy.repro(tracked, "report"), "exactly that state"


def wait_for_queue(folder: Path) -> None:
    """Until no experiment is queued or running."""
    import time

    for _ in range(600):
        status = toy.dvc(folder, "queue", "status")
        if "Queued" not in status and "Running" not in status:
            return
        time.sleep(0.5)
    raise AssertionError(status)
