"""Names that any store accepts, and a project's own store after the project was copied."""

import json
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric, _validate_param_name, _validate_tag_name

from llm_core.tracking.store import Names, clean_name
from tests.warm import start

ROOT = Path(__file__).parents[3]
STAGE = """
import sys
from pathlib import Path
from llm_core.tracking import runs
with runs.run("evaluate", {"seed": 1}) as run:
    run.artifact(Path("result.txt"))
    print(run.run_id)
"""


@given(st.text())
def test_every_cleaned_name_is_accepted(name: str) -> None:
    clean = clean_name(name)
    for check in (_validate_param_name, _validate_tag_name):
        check(clean)
    _validate_metric(clean, 1.0, 0, 0)
    assert clean_name(clean) == clean


@given(st.lists(st.text(alphabet="ab+-./ x", max_size=6), unique=True))
def test_two_names_never_become_one(names: list[str]) -> None:
    clean = Names()
    found = [clean(name) for name in names]
    assert len(set(found)) == len(names)
    assert [clean(name) for name in names] == found


def _run(folder: Path) -> str:
    """Record a run with an artifact in the project at `folder`; what the run said on stderr."""
    (folder / "result.txt").write_text(folder.name)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "DVC_"))}
    environment |= {"LLM_CORE_TRACKING": "on", "MLFLOW_DISABLE_TELEMETRY": "true", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        start.script(), input=STAGE, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stderr


def _artifacts(folder: Path) -> list[str]:
    return sorted(file.read_text() for file in folder.glob("mlruns/**/result.txt"))


def _recorded(folder: Path) -> str:
    """Everything that the store of a project holds, as text."""
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        return json.dumps(list(database.iterdump()))


def test_a_copied_project_writes_nothing_into_the_original(tmp_path: Path) -> None:
    name = "eine Köpie (2)"
    original, copy = tmp_path / "the original", tmp_path / name
    original.mkdir()
    assert "copied or moved" not in _run(original)
    shutil.copytree(original, copy)
    before = _recorded(original)
    assert f"named artifacts in {original / 'mlruns'}, now in {copy / 'mlruns'}" in _run(copy)
    assert _artifacts(original) == ["the original"] and _artifacts(copy) == sorted(["the original", name])
    assert _recorded(original) == before
    assert "original" not in _recorded(copy) and "copied or moved" not in _run(copy)


def test_a_store_that_others_share_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llm_core.tracking.store import relocate

    shared, mine = tmp_path / "shared", tmp_path / "mine"
    for folder in (shared, mine):
        folder.mkdir()
    _run(shared)
    before = _recorded(shared)
    monkeypatch.chdir(mine)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{shared / 'mlflow.db'}")
    assert relocate() == [] and _recorded(shared) == before
