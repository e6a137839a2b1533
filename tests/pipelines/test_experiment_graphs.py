"""A dvc.yaml below `experiments/` is assets too: joined to the default graph, run only on demand."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dvc.repo import Repo

from pipelines.dvc_project import DvcProject
from pipelines.graph import DVC_FILE
from pipelines.plan import describe, plan
from tests.pipelines import toy_project as toy
from tests.pipelines.dagster_view import mirror, statuses

Build = Callable[[Path], dg.Definitions]
SIDE = "experiments/side/dvc.yaml"
ROOT = Path(__file__).parents[2]
TRAIN = ("pretrain", "finetune", "word2vec", "scaling")


def test_stages_are_assets_below_the_default_graph(experiment: Path, definitions: Build) -> None:
    repository = definitions(experiment).get_repository_def()
    graph = repository.asset_graph
    parents = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
        if graph.get(key).group_name == "experiments/side"
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
    own = dg.AssetKey(["side", "report"])
    jobs = {job.name for job in repository.get_all_jobs() if own in job.asset_layer.executable_asset_keys}
    assert jobs == {"__ASSET_JOB", "whole_graph_side"}, "no sensor's either"
    sensor = repository.get_sensor_def("rebuild_stale")
    assert not [k for k in sensor.asset_selection.resolve(repository.asset_graph) if k.has_prefix(["side"])]


def test_a_study_has_a_partition_for_each_item(
    experiment: Path, instance: dg.DagsterInstance, definitions: Build
) -> None:
    """A backfill runs one partition after another; each brings its own stage up to date, and no other."""
    mirror(experiment, instance)
    toy.edit(experiment, "params.yaml", "title: toy", "title: game")
    job = definitions(experiment).get_repository_def().get_job("study_side_sorted")
    assert job.partitions_def is not None and job.partitions_def.get_partition_keys() == ["a", "b"]
    assert job.execute_in_process(instance=instance, partition_key="b").success
    with DvcProject(experiment) as project:
        assert project.fresh(f"{SIDE}:sorted@b") and not project.fresh(f"{SIDE}:sorted@a")
    assert mirror(experiment, instance) == [f"{SIDE}:sorted@b"]


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


def test_its_job_is_dvc_repro_of_its_file(experiment: Path, instance: dg.DagsterInstance, definitions: Build) -> None:
    toy.edit(experiment, "params.yaml", "title: toy", "title: game")
    job = definitions(experiment).resolve_job_def("whole_graph_side")
    assert {key.to_user_string() for key in job.asset_layer.executable_asset_keys} == {
        "words_a", "words_b", "long_a", "long_b", "side/sorted_a", "side/sorted_b", "side/report",
    }  # fmt: skip
    assert [item.stage for item in plan(experiment, [SIDE]) if item.sure] == [f"{SIDE}:sorted@a", f"{SIDE}:sorted@b"]
    assert job.execute_in_process(instance=instance).success
    assert plan(experiment, [SIDE]) == []
    assert [item.stage for item in plan(experiment)] == ["report"], "which this file does not read, is left stale"


def test_plan_of_a_target(experiment: Path) -> None:
    toy.edit(experiment, "params.yaml", "min_length: 2", "min_length: 3")
    names = [item.stage for item in plan(experiment, [f"{SIDE}:sorted@a"])]
    assert names == ["long@a", f"{SIDE}:sorted@a"], "the stage and what is above it"
    assert f"maybe   {SIDE}:sorted@a never timed here" in describe(plan(experiment, [SIDE]), 0)
    assert "side" not in "".join(item.stage for item in plan(experiment)), "by default the default graph"
    with pytest.raises(ValueError, match=r"nothing: no such stage or file; files: dvc.yaml, experiments/side/dvc.yaml"):
        plan(experiment, ["nothing"])


def test_every_stage_of_this_project_is_one_asset(definitions: Build) -> None:
    graph = definitions(ROOT).get_repository_def().asset_graph
    stages = [graph.get(key).metadata["dvc stage"] for key in graph.get_all_asset_keys()]
    with Repo(str(ROOT)) as repo:  # as `dvc stage list --all` finds them
        files = {(stage.path_in_repo, stage.name) for stage in repo.index.stages}
    assert len(stages) == len(files)
    assert set(stages) == {name if file == DVC_FILE else f"{file}:{name}" for file, name in files}
    assert {file for file, _ in files} > {DVC_FILE, "experiments/retrieval/dvc.yaml", "experiments/scaling/dvc.yaml"}
    groups = {graph.get(key).group_name for key in graph.get_all_asset_keys() if len(key.path) > 1}
    assert groups == {str(Path(file).parent) for file, _ in files if file != DVC_FILE}
    parents = graph.get(dg.AssetKey(["retrieval", "index"])).parent_keys
    assert parents == {dg.AssetKey("dedup"), dg.AssetKey("inputs")}


def test_every_training_of_this_project_waits_in_the_pool(definitions: Build) -> None:
    pools = {asset.key: asset.op.pool for asset in definitions(ROOT).get_repository_def().assets_defs_by_key.values()}
    with DvcProject(ROOT) as project:
        commands = {dg.AssetKey(stage.key): stage.cmd.split() for stage in project.stages.values()}
    trains = {key for key, (_, verb, what, *_) in commands.items() if verb in TRAIN and what != "fit"}
    assert dg.AssetKey(["retrieval", "finetune_reader"]) in trains
    assert [key for key in trains if pools[key] != "training"] == []
