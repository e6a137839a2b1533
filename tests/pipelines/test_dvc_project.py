"""A working copy is read whole, also while `dvc repro` is at work in it."""

import os
from pathlib import Path

import pytest

from pipelines import dvc_project
from pipelines.dvc_project import DvcProject


def test_a_lock_file_that_is_being_written_is_read_when_it_is_whole(
    reproduced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = reproduced / "dvc.lock"
    whole = lock.read_text()
    waits = []

    def write_the_rest(seconds: float) -> None:
        waits.append(seconds)
        lock.write_text(whole)
        os.utime(lock, (0, 0))

    monkeypatch.setattr(dvc_project, "SETTLED", 600)  # so that no machine is too slow for it
    monkeypatch.setattr(dvc_project.time, "sleep", write_the_rest)
    lock.write_text(whole[: whole.index("  report:")])  # valid YAML, from which stages are missing
    with DvcProject(reproduced) as project:
        assert "report" in project.lock
        assert all(project.fresh(name) for name in project.stages)
    assert len(waits) == 1


def test_one_that_changes_all_the_time_is_read_at_last(reproduced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvc_project, "SETTLED", 600)
    monkeypatch.setattr(dvc_project, "PATIENCE", 0.01)
    monkeypatch.setattr(dvc_project.time, "sleep", lambda _: None)
    os.utime(reproduced / "dvc.lock")
    with DvcProject(reproduced) as project:
        assert project.lock
