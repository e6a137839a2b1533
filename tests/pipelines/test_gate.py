"""The gate in Dagster: a worse model's run fails at a blocking check and the champion stays; a better one is promoted.

The stages are those of the project's own dvc.yaml from `register` on, with real verbs on a real store; models are
two-layer GPT-2s whose evaluations were made by hand.
"""

import json
import shutil
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml
from typer.testing import CliRunner

from llm_core.runtime.digests import content_digest
from tests.llm_core.conftest import gpt2  # noqa: F401 - a fixture
from tests.llm_core.evaluation.test_gate import _results
from tests.pipelines import toy_project as toy
from tests.warm import start

ROOT = Path(__file__).parents[2]


def _evaluated(folder: Path, source: Path, shift: float) -> None:
    """A new base model whose documents need `shift` bits a byte less than the first one's."""
    model, evaluation = folder / "data/models/base", folder / "data/evaluation/base"
    for path in (model, evaluation):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(source, model)
    (model / "note.json").write_text(json.dumps(shift))
    evaluation.mkdir(parents=True)
    (evaluation / "about.json").write_text(json.dumps({"model": "data/models/base", "digest": content_digest(model)}))
    (evaluation / "samples.json").write_text("[]")
    rows = _results(shift)["bits_per_byte"]
    (evaluation / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    bits = sum(row["bits"] for row in rows) / sum(row["bytes"] for row in rows)
    (evaluation / "metrics.json").write_text(json.dumps({"bits_per_byte": {"all": {"bits_per_byte": bits}}}))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    kept = {name: stages[name] for name in ("register", "promote")}
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": kept}))
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["evaluation"] |= {"models": ["base"]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copytree(ROOT / "llm_core", folder / "llm_core", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".gitignore").write_text("/data\n/mlflow.db\n/mlruns\n__pycache__\n")
    toy.run(folder, "git", "init", "-q")
    toy.dvc(folder, "init", "-q")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PATH", start.path())
    monkeypatch.setattr(sys, "executable", start.python())  # by which Dagster's runs start DVC
    return folder


def _run(folder: Path, instance: dg.DagsterInstance) -> tuple[bool, dg.AssetCheckEvaluation, set[str]]:
    """The whole graph as a Dagster run: (success, the gate's evaluation, assets materialized)."""
    from dagster.components import build_defs_for_component

    from pipelines.component import DvcProjectComponent

    definitions = build_defs_for_component(DvcProjectComponent(project=str(folder)))
    job = definitions.resolve_job_def("whole_graph")
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    checks = result.get_asset_check_evaluations()
    made = {event.asset_key.to_user_string() for event in result.get_asset_materialization_events()}
    return result.success, checks[-1], made


@pytest.mark.slow
def test_only_a_better_model_passes_the_blocking_check_and_rollback_restores(
    project: Path, gpt2: Path, instance: dg.DagsterInstance  # noqa: F811
) -> None:  # fmt: skip
    from llm_core.cli import rollback
    from llm_core.tracking import versions

    _evaluated(project, gpt2, 0.0)
    success, check, made = _run(project, instance)
    assert success and check.passed and len(made) == 2
    store = versions.Registry("language-model-base")
    assert (store.version("champion"), store.version("challenger")) == ("1", "1")

    _evaluated(project, gpt2, -0.05)
    success, check, made = _run(project, instance)
    assert not success and not check.passed and check.blocking
    assert "version 2 stays challenger, version 1 stays champion" in str(check.description)
    assert len(made) == 1, "promote must not have run"
    assert (store.version("champion"), store.version("challenger")) == ("1", "2")
    success, check, made = _run(project, instance)
    assert success and not check.passed, "nothing changed since: the refusal is shown, and stops nothing"
    assert check.severity == dg.AssetCheckSeverity.WARN and len(made) == 2
    toy.repro(project)  # in a shell the same refusal is a line and no error
    assert json.loads((project / "data/champion/base.json").read_text())["champion"] is False
    assert store.version("champion") == "1"

    _evaluated(project, gpt2, 0.05)
    success, check, made = _run(project, instance)
    assert success and check.passed
    assert (store.version("champion"), store.version("challenger")) == ("3", "3")

    done = CliRunner().invoke(rollback.app, ["--name", "base"])
    assert done.exit_code == 0, done.output
    assert "version 1 is champion again (was 3)" in done.output
    assert store.version("champion") == "1"


@pytest.mark.slow
def test_stages_that_ran_in_a_shell_are_checked(
    project: Path, gpt2: Path, instance: dg.DagsterInstance  # noqa: F811
) -> None:  # fmt: skip
    from dagster.components import build_defs_for_component

    from pipelines.component import DvcProjectComponent

    _evaluated(project, gpt2, 0.0)
    toy.repro(project)
    repository = build_defs_for_component(DvcProjectComponent(project=str(project))).get_repository_def()
    (sensor,) = (found for found in repository.sensor_defs if found.name == "mirror_dvc_lock")
    with dg.build_sensor_context(instance, repository_def=repository) as context:
        tick = sensor.evaluate_tick(context)
    (request,) = tick.run_requests or []
    (key,) = request.asset_check_keys or []
    assert key.name == "gate" and request.job_name == "checks"
    job = repository.get_job("checks").get_subset(asset_selection=set(), asset_check_selection={key})
    result = job.execute_in_process(instance=instance)
    assert [check.passed for check in result.get_asset_check_evaluations()] == [True]
