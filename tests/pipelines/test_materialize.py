"""Materializing in Dagster and `dvc repro` in a shell have the same effect."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CODE_VERSION_TAG

from pipelines.dvc_project import DvcProject
from pipelines.mirror import FORGOTTEN, missing_events
from tests.pipelines import toy_project as toy
from tests.pipelines.dagster_view import mirror, statuses

Build = Callable[[Path], dg.Definitions]


def test_everything_loads_together(project: Path, definitions: Build) -> None:
    dg.Definitions.validate_loadable(definitions(project))


def test_graph_is_that_of_dvc_yaml(project: Path, definitions: Build) -> None:
    graph = definitions(project).get_repository_def().asset_graph
    parents = {
        key.to_user_string(): sorted(p.to_user_string() for p in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    }
    assert parents == {
        "words_a": [],
        "words_b": [],
        "long_a": ["words_a"],
        "long_b": ["words_b"],
        "join": ["long_a", "long_b"],
        "report": ["join"],
        "slow": ["join"],
    }


def test_dagster_makes_the_bytes_that_dvc_makes(
    project: Path, reproduced_once: Path, instance: dg.DagsterInstance, definitions: Build
) -> None:
    result = definitions(project).resolve_job_def("whole_graph").execute_in_process(instance=instance)
    assert result.success
    assert (project / "dvc.lock").read_text() == (reproduced_once / "dvc.lock").read_text()
    with DvcProject(project) as read:
        for name, stage in read.stages.items():
            event = instance.get_latest_materialization_event(dg.AssetKey(stage.key))
            assert event.asset_materialization.tags["dagster/data_version"] == read.data_version(name)
    assert set(statuses(definitions(project), instance).values()) == {"FRESH"}
    assert mirror(project, instance) == [], "what Dagster ran needs no mirroring"


def test_shell_run_is_shown_fresh(reproduced: Path, instance: dg.DagsterInstance, definitions: Build) -> None:
    defs = definitions(reproduced)
    assert set(statuses(defs, instance).values()) == {"MISSING"}
    assert mirror(reproduced, instance) == ["words@a", "words@b", "long@a", "long@b", "join", "report", "slow"]
    assert set(statuses(defs, instance).values()) == {"FRESH"}
    assert mirror(reproduced, instance) == []


def test_stage_run_in_shell_below_a_dagster_run(
    reproduced: Path, instance: dg.DagsterInstance, definitions: Build
) -> None:
    mirror(reproduced, instance)
    toy.edit(reproduced, "params.yaml", "min_length: 2", "min_length: 3")
    defs = definitions(reproduced)
    assert {k for k, v in statuses(defs, instance).items() if v == "STALE"} == {"long@a", "long@b"}
    toy.repro(reproduced)
    assert mirror(reproduced, instance) == ["long@a", "long@b", "join", "report", "slow"]
    assert set(statuses(defs, instance).values()) == {"FRESH"}


def test_a_run_says_why_and_what_was_expected(
    reproduced: Path, instance: dg.DagsterInstance, definitions: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIPELINE_PRICE", "6")
    toy.edit(reproduced, "params.yaml", "title: toy", "title: '![x](http://evil.example) <b>'")
    (reproduced / ".scratch").mkdir()
    (reproduced / ".scratch/timings.jsonl").write_text('{"stage": "report", "seconds": 3.0, "cpu_seconds": 6.0}')
    defs = definitions(reproduced)
    report, join = dg.AssetKey("report"), dg.AssetKey("join")
    job = defs.resolve_job_def("whole_graph")
    assert job.execute_in_process(instance=instance, asset_selection=[report, join]).success
    events = [instance.get_latest_materialization_event(key) for key in (report, join)]
    ran, skipped = (event.asset_materialization.metadata for event in events)
    assert ran["why it ran"].value == "- param title: toy -> !&#91;x]&#40;http://evil.example) &lt;b>"
    assert ran["expected"].value.startswith("3.0 s, 6.0 s CPU, ") and "0.0100 in money" in ran["expected"].value
    assert skipped["skipped by DVC"].value is True and "why it ran" not in skipped


def test_a_running_stage_shows_how_far_it_is(
    reproduced: Path, instance: dg.DagsterInstance, definitions: Build
) -> None:
    """As observations, which are no new data: the asset's version is its materialization's."""
    toy.edit(reproduced, "params.yaml", "steps: 0", "steps: 2")
    key = dg.AssetKey("slow")
    job = definitions(reproduced).resolve_job_def("whole_graph")
    ran = job.execute_in_process(instance=instance, asset_selection=[key])
    made = instance.get_latest_materialization_event(key)
    assert made is not None and made.asset_materialization is not None
    seen = instance.fetch_observations(key, limit=9).records
    assert ran.success and {one.run_id for one in seen} == {ran.run_id}
    later, first = (one.asset_observation for one in seen)
    shown = {name: entry.value for name, entry in first.metadata.items()}
    assert shown.pop("time left") and shown.pop("steps a second") > 0
    assert shown == {
        "steps done": 1.0, "share done": 0.5, "loss": 4.0, "smoothed loss": 4.0, "learning rate": 0.001,
        "loss, web": 3.5,
    }  # fmt: skip
    assert later.metadata["share done"].value == 1.0 and "time left" not in later.metadata
    assert seen[0].timestamp < made.timestamp, "before its end"
    assert statuses(definitions(reproduced), instance)["slow"] == "FRESH"


EDIT_AND_REPRO = """
import subprocess, sys
from pathlib import Path

params, edited = Path("params.yaml"), Path("edited.yaml")
text = params.read_text()
for turn in range(8):
    slow = "steps: 1" if turn == 3 else "steps: 0"
    edited.write_text(text.replace("title: toy", f"title: toy {turn}").replace("steps: 0", slow))
    edited.replace(params)  # as editors save: whoever reads meanwhile never sees half of it
    subprocess.run([sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-q"], check=True)
"""


@pytest.mark.slow
def test_the_mirror_makes_up_nothing_while_a_shell_runs_dvc(reproduced: Path, instance: dg.DagsterInstance) -> None:
    """No event for a stage that did not run, none of outputs that are missing only while their stage runs."""
    mirror(reproduced, instance)
    shell = subprocess.Popen([sys.executable, "-c", EDIT_AND_REPRO], cwd=reproduced)
    looks = 0
    while shell.poll() is None:
        with DvcProject(reproduced) as project:
            for name, event in missing_events(project, instance):
                assert name in ("report", "slow"), f"{name} never ran"
                assert "to be restored" not in event.tags[CODE_VERSION_TAG]
                assert event.tags[CODE_VERSION_TAG] != FORGOTTEN
                instance.report_runless_asset_event(event)
        looks += 1
    assert shell.returncode == 0 and looks > 8
    assert set(mirror(reproduced, instance)) <= {"report", "slow"}
    assert mirror(reproduced, instance) == []


def test_deleted_outputs_are_not_reported_as_made(reproduced: Path, instance: dg.DagsterInstance) -> None:
    """Dagster needs an event to call the asset stale; the event says that nothing was made."""
    mirror(reproduced, instance)
    shutil.rmtree(reproduced / "data/report")
    assert mirror(reproduced, instance) == ["report"]
    event = instance.get_latest_materialization_event(dg.AssetKey("report"))
    assert event is not None and event.asset_materialization is not None
    assert event.asset_materialization.description == (
        "Nothing was made. Deleted or changed, by hand or by a run that did not end: data/report; "
        "`dvc repro report` makes it."
    )
    assert "mirrored from" not in event.asset_materialization.metadata
    toy.repro(reproduced)
    assert mirror(reproduced, instance) == ["report"], "restored"


def test_a_mirrored_stage_has_its_own_time_and_run(reproduced: Path, instance: dg.DagsterInstance) -> None:
    row = {
        "verb": "join",
        "stage": "report",
        "failed": False,
        "out": "data/report",
        "seconds": 2.5,
        "ended": 1700000000,
    }
    (reproduced / ".scratch").mkdir()
    (reproduced / ".scratch/timings.jsonl").write_text(
        json.dumps({**row, "mlflow_run_id": "abc", "mlflow_experiment_id": "1"}) + "\n"
    )
    mirror(reproduced, instance)
    event = instance.get_latest_materialization_event(dg.AssetKey("report"))
    assert event is not None and event.asset_materialization is not None
    shown = event.asset_materialization.metadata
    assert (shown["ran at"].value, shown["seconds"].value) == (1700000000.0, 2.5)
    assert str(shown["MLflow run"].value).endswith("/#/experiments/1/runs/abc?workflowType=machine_learning")
