"""An experiment from the launchpad: params overridden in the run config land in MLflow, the workspace untouched."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from tests.pipelines import toy_project as toy

pytestmark = pytest.mark.slow
Build = Callable[[Path], dg.Definitions]


def launch(
    definitions: Build, folder: Path, instance: dg.DagsterInstance, **config: object
) -> dg.ExecuteInProcessResult:
    job = definitions(folder).resolve_job_def("experiment")
    run_config = {"ops": {"dvc_exp_run": {"config": config}}}
    return job.execute_in_process(run_config, instance=instance, raise_on_error=False)


def test_overridden_params_land_in_mlflow(tracked: Path, instance: dg.DagsterInstance, definitions: Build) -> None:
    import mlflow

    before = (tracked / "params.yaml").read_text(), (tracked / "dvc.lock").read_text()
    result = launch(definitions, tracked, instance, params={"cleaning": {"min_length": 3}, "title": "a b"})
    assert result.success
    assert ((tracked / "params.yaml").read_text(), (tracked / "dvc.lock").read_text()) == before
    client = mlflow.MlflowClient(f"sqlite:///{tracked / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("llm-pipeline")
    (run,) = client.search_runs([experiment.experiment_id], f"tags.`dagster.run_id` = '{result.run_id}'")
    name = f"launchpad-{result.run_id[:8]}"
    assert run.data.metrics == {"words": 2}, "a10 and a11 alone have three letters"
    tags = {key: value for key, value in run.data.tags.items() if key.startswith(("changed.", "dvc.experiment"))}
    assert tags == {"changed.cleaning.min_length": "3", "changed.title": "a b", "dvc.experiment": name}
    metadata = result.events_for_node("dvc_exp_run")
    (output,) = [event.event_specific_data.metadata for event in metadata if event.event_type_value == "STEP_OUTPUT"]
    assert f"/runs/{run.info.run_id}?" in str(output["MLflow run 1"].value)
    assert toy.dvc(tracked, "exp", "list", "--name-only").split() == [name]


def test_the_launchpad_opens_with_an_example_that_is_valid(tracked: Path, definitions: Build) -> None:
    job = definitions(tracked).resolve_job_def("experiment")
    assert job.run_config is not None
    (example,) = [op["config"] for op in job.run_config["ops"].values()]
    assert dg.validate_run_config(job, job.run_config) and set(example) == {"params", "targets", "name"}


def test_an_unknown_param_is_named(tracked: Path, instance: dg.DagsterInstance, definitions: Build) -> None:
    result = launch(definitions, tracked, instance, params={"cleaning.min_lenght": 3})
    failure = result.failure_data_for_node("dvc_exp_run")
    assert failure is not None and failure.user_failure_data is not None
    assert "min_lenght" in (failure.user_failure_data.description or "")
