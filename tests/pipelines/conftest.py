"""A toy DVC project for each test, and Dagster over it."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest

from tests.pipelines import toy_project as toy
from tests.warm import start

os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
TRACK = """
    from llm_core.tracking import runs as tracking

    with tracking.run(verb, params["cleaning"]) as record:
        record.metrics({"words": len(words)})
"""


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy project, created once; tests take copies."""
    return toy.create(tmp_path_factory.mktemp("toy") / "project")


@pytest.fixture(scope="session")
def reproduced_once(made_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy project after a whole `dvc repro`."""
    folder = tmp_path_factory.mktemp("reproduced") / "project"
    shutil.copytree(made_once, folder, symlinks=True)
    toy.repro(folder)
    toy.commit(folder)
    return folder


@pytest.fixture
def project(made_once: Path, tmp_path: Path) -> Path:
    """A toy project that has not run."""
    return Path(shutil.copytree(made_once, tmp_path / "project", symlinks=True))


@pytest.fixture
def reproduced(reproduced_once: Path, tmp_path: Path) -> Path:
    """A toy project in which `dvc repro` has just run."""
    return Path(shutil.copytree(reproduced_once, tmp_path / "reproduced", symlinks=True))


@pytest.fixture(scope="session")
def experiment_once(reproduced_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy project after a whole `dvc repro`, with an experiment that has run."""
    folder = tmp_path_factory.mktemp("experiment") / "project"
    return toy.add_experiment(Path(shutil.copytree(reproduced_once, folder, symlinks=True)))


@pytest.fixture
def experiment(experiment_once: Path, tmp_path: Path) -> Path:
    """A toy project in which all has run, `experiments/side/dvc.yaml` too."""
    return Path(shutil.copytree(experiment_once, tmp_path / "experiment", symlinks=True))


@pytest.fixture(scope="session")
def tracked_once(made_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy project, whole (`exp apply` checks out every stage), its report recorded in MLflow, with no runs yet."""
    folder = tmp_path_factory.mktemp("tracked") / "project"
    shutil.copytree(made_once, folder, symlinks=True)
    marker = '    (out / "documents").mkdir'
    block = '    if str(out) == "data/report":' + TRACK.replace("\n    ", "\n        ").rstrip() + "\n"
    toy.edit(folder, "code/stage.py", marker, block + marker)
    toy.repro(folder)
    toy.commit(folder)
    (folder / "mlflow.db").unlink()
    return folder


@pytest.fixture
def tracked(tracked_once: Path, tmp_path: Path) -> Path:
    """A toy project in which all has run and whose report is recorded in MLflow."""
    return Path(shutil.copytree(tracked_once, tmp_path / "tracked", symlinks=True))


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of the test's own, in memory, whose runs in this process start DVC warm (tests/warm)."""
    monkeypatch.setattr(sys, "executable", start.python())
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def definitions() -> Callable[[Path], dg.Definitions]:
    """Definitions of a project as the component builds them."""
    from dagster.components import build_defs_for_component

    from pipelines.component import DvcProjectComponent

    return lambda folder: build_defs_for_component(DvcProjectComponent(project=str(folder)))
