"""A dvc.yaml below `experiments/` is assets too: joined to the default graph, run only when asked for."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from pipelines.dvc_project import DvcProject
from pipelines.plan import describe, plan
from tests.pipelines import toy_project as toy
from tests.pipelines.dagster_view import statuses

Build = Callable[[Path], dg.Definitions]
SIDE = "experiments/side/dvc.yaml"
ROOT = Path(__file__).parents[2]


def test_stages_are_assets_below_the_default_graph(experiment: Path, definitions: Build) -> None:
    repository = definitions(experiment).get_repository_def()
    graph = repository.asset_graph
    parents = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
        if graph.get(key).group_name == "side"
    }
    assert parents == {
        "side/sorted_a": {"long_a"},
        "side/sorted_b": {"long_b"},
        "side/report": {"side/sorted_a", "side/sorted_b"},
    }
    assert graph.get(dg.AssetKey("report")).group_name == "evaluation", "the default graph's own stage of that name"
    assert not graph.get(dg.AssetKey(["side", "report"])).automation_condition


def test_nothing_runs_them_unasked(experiment: Path, definitions: Build) -> None:
    repository = definitions(experiment).get_repository_def()
    job = repository.get_job("whole_graph")
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == {
        "words_a", "words_b", "long_a", "long_b", "join", "report", "slow",
    }  # fmt: skip
    sensor = repository.get_sensor_def("rebuild_stale")
    assert not [k for k in sensor.asset_selection.resolve(repository.asset_graph) if k.has_prefix(["side"])]


def test_materialize_is_dvc_repro_of_that_stage(
    experiment: Path, instance: dg.DagsterInstance, definitions: Build
) -> None:
    toy.edit(experiment, SIDE, "join data/side", "join  data/side")
    key = dg.AssetKey(["side", "report"])
    job = definitions(experiment).get_implicit_global_asset_job_def()
    assert job.execute_in_process(instance=instance, asset_selection=[key]).success
    assert "up to date" in toy.dvc(experiment, "status")
    with DvcProject(experiment) as project:
        version = project.data_version(f"{SIDE}:report")
        assert version == project.locked(f"{SIDE}:report", "outs")["data/side"], "paths are the project's"
    event = instance.get_latest_materialization_event(key)
    assert event.asset_materialization.tags["dagster/data_version"] == version
    assert event.asset_materialization.metadata["why it ran"].value == "- command changed"
    assert statuses(definitions(experiment), instance)[f"{SIDE}:report"] != "MISSING"


def test_plan_of_a_target(experiment: Path) -> None:
    toy.edit(experiment, "params.yaml", "min_length: 2", "min_length: 3")
    names = [item.stage for item in plan(experiment, [f"{SIDE}:sorted@a"])]
    assert names == ["long@a", f"{SIDE}:sorted@a"], "the stage and what is above it"
    assert f"maybe {SIDE}:sorted@a never timed here" in describe(plan(experiment, [SIDE]), 0)
    assert "side" not in "".join(item.stage for item in plan(experiment)), "by default the default graph"
    with pytest.raises(ValueError, match=r"nothing: no such stage or file; files: dvc.yaml, experiments/side/dvc.yaml"):
        plan(experiment, ["nothing"])


def test_every_experiment_of_this_project_is_loaded(definitions: Build) -> None:
    graph = definitions(ROOT).get_repository_def().asset_graph
    groups = {graph.get(key).group_name for key in graph.get_all_asset_keys()}
    assert {folder.parent.name for folder in (ROOT / "experiments").glob("*/dvc.yaml")} <= groups
    assert graph.get(dg.AssetKey(["retrieval", "index"])).parent_keys == {dg.AssetKey("dedup")}
