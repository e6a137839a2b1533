"""The whole graph on real text at a tiny size: through `dvc repro`, through Dagster, to the same hashes.

In the shell each verb starts cold, as a user starts it; under Dagster the verbs are forked from a warm server
(tests/warm).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from tests.warm import start

ROOT = Path(__file__).parents[1]
TINY: dict[str, Any] = {
    "launch.pretraining.processes": 1,
    "cleaning.repair.characters": {},  # the default names a source that is left out here
    "tokenizer.vocab_size": 512,
    "model.layers": 1,
    "model.width": 64,
    "model.heads": 2,
    "model.feed_forward": 64,
    "pretraining.steps": 6,
    "pretraining.phases": [],
    "pretraining.sequence_length": 128,
    "pretraining.batch_tokens": 512,
    "pretraining.micro_batch": 2,
    "pretraining.precision": "fp32",
    "pretraining.optimizer.warmup_steps": 2,
    "pretraining.checkpoint_every": 4,
    "pretraining.evaluate_every": 4,
    "pretraining.evaluate_tokens": 500,
    "pretraining.evaluate_tokens_final": 500,
    "finetuning.runs.instruction.data.conversations": 1,
    "finetuning.runs.instruction.max_steps": 10,
    "finetuning.runs.instruction.heldout_rows": 50,
    "finetuning.runs.instruction.scored_items": 10,
    "finetuning.runs.instruction.max_length": 128,  # no more than the tiny model has positions
    "finetuning.runs.instruction.evaluations": 1,
    "evaluation.benchmarks.tasks": ["arc_easy", "lambada_openai"],
    "evaluation.tasks": ["arc_easy", "lambada_openai"],
    "evaluation.limit": 4,
    "evaluation.answers": 12,
    "evaluation.answer_tokens": 4,
    "evaluation.language_modelling.tokens_per_source": 500,
}
SOURCES = ("factbook", "web")


def copy_project(folder: Path) -> None:
    """A copy of this project's tracked files, without its tests and docs."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        if name and (ROOT / name).is_file() and not name.startswith((".dvc/", "tests/", "docs/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)


def start_history(folder: Path) -> None:
    """Put a copy under git and DVC of its own."""
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=folder, check=True, env=environment(folder))
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, "commit", "-q", "-m", "start"], cwd=folder, check=True)


def project(folder: Path) -> Path:
    """A copy of this project, its tracked files alone, with tiny params, under git and DVC of its own."""
    copy_project(folder)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["sources"] = {name: params["sources"][name] for name in SOURCES}
    params["cleaning"]["repair"]["characters"] = {}  # it names a source that is not here, which is an error
    for key, value in TINY.items():
        *parents, last = key.split(".")
        section = params
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    start_history(folder)
    return folder


def environment(folder: Path, warm: bool = True) -> dict[str, str]:
    """The copy's code, one thread, the ops that this project has built; verbs and `dvc` that start warm."""
    return os.environ | {
        "PATH": start.path() if warm else os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "TORCH_EXTENSIONS_DIR": os.environ.get("TORCH_EXTENSIONS_DIR", str(ROOT / ".torch_extensions")),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }


def repro(folder: Path, *targets: str, warm: bool = True) -> str:
    """`dvc repro`; what it printed."""
    command = ["dvc", "--wait-for-lock", "repro", *targets]
    done = subprocess.run(command, cwd=folder, env=environment(folder, warm), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout


def outputs(folder: Path) -> dict[str, str]:
    """Every output's hash in dvc.lock, but for the report, which tells the time."""
    stages = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]
    found = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    del found["data/report"]
    return found


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after `dvc repro` in a shell, without what starts programs warm."""
    folder = project(tmp_path_factory.mktemp("shell"))
    repro(folder, warm=False)
    return folder


@pytest.mark.slow
def test_every_stage_made_what_it_names(shell: Path) -> None:
    again = repro(shell)
    assert "Running stage 'inputs'" in again and again.count("Running stage") == 1, again
    for name in ("data/models/base/model.safetensors", "data/models/instruction/model.safetensors"):
        assert (shell / name).stat().st_size > 0
    report = (shell / "data/report/report.html").read_text()
    assert "factbook" in report


@pytest.mark.slow
def test_every_document_is_accounted_for_from_download_to_tokens(shell: Path) -> None:
    import json

    def metrics(name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((shell / "data" / name / "metrics.json").read_text())
        return found

    kept = sum(metrics(f"clean/{source}")["documents_kept"] for source in SOURCES)
    for source in SOURCES:
        assert metrics(f"raw/{source}")["documents_kept"] == metrics(f"clean/{source}")["documents_in"]
    for stage in ("dedup", "decontaminated", "split"):
        assert metrics(stage)["documents_in"] == kept, stage
        kept = metrics(stage)["documents_kept"]
    tokens = metrics("tokens")
    assert kept == sum(row["documents"] for side in ("train", "heldout") for row in tokens[side]["by_source"].values())


@pytest.mark.slow
def test_every_figure_of_every_stage_has_a_name_for_people(shell: Path) -> None:
    import json

    from llm_core.report.metrics_names import nameless

    files = sorted((shell / "data").glob("**/metrics.json"))
    assert len(files) >= 12
    assert {str(file): found for file in files if (found := nameless(json.loads(file.read_text())))} == {}


def code_location(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """What Dagster loads of a copy, for runs in this process."""
    from dagster.components import build_defs_for_component

    from pipelines.component import DvcProjectComponent

    for name, value in environment(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "executable", start.python())  # by which Dagster's runs start DVC
    return build_defs_for_component(DvcProjectComponent(project=str(folder)))


@pytest.mark.slow
def test_dagster_makes_the_same_bytes(shell: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project(tmp_path)
    job = code_location(folder, monkeypatch).resolve_job_def("whole_graph")
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance).success
    assert outputs(folder) == outputs(shell)


@pytest.mark.slow
def test_dagster_makes_a_stage_of_an_experiment(shell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llm_core.retrieval.index import Index
    from pipelines.dvc_project import DvcProject
    from pipelines.mirror import missing_events

    file, key = "experiments/retrieval/dvc.yaml", dg.AssetKey(["retrieval", "index_words"])
    job = code_location(shell, monkeypatch).resolve_implicit_global_asset_job_def()
    with dg.DagsterInstance.ephemeral() as instance:
        assert job.execute_in_process(instance=instance, asset_selection=[key]).success
        tags = instance.get_latest_materialization_event(key).asset_materialization.tags
    lock = yaml.safe_load((shell / file).with_name("dvc.lock").read_text())
    assert list(lock["stages"]) == ["index-words"]
    assert [out["md5"] for out in lock["stages"]["index-words"]["outs"]] == [tags["dagster/data_version"]]
    assert len(Index(shell / "data/index-words")) > 100, "passages"
    assert f"Stage '{file}:index-words' didn't change, skipping" in repro(shell, f"{file}:index-words")
    with dg.DagsterInstance.ephemeral() as other, DvcProject(shell) as read:
        events = dict(missing_events(read, other))
    assert events[f"{file}:index-words"].tags["dagster/data_version"] == tags["dagster/data_version"]


@pytest.mark.slow  # servers and a browser, over the run that the tests above have made
def test_a_tour_of_every_page(shell: Path) -> None:
    from tests.pipelines import tour
    from tests.pipelines.browser import chromium, shoot
    from tests.pipelines.live import serve

    with chromium() as page, serve(shell) as live:
        tour.walk(page, live, lambda name: shoot(page, name))
