"""A working copy is read consistently, also while `dvc repro` runs in it."""

import subprocess
import sys
from pathlib import Path

import pytest
from dvc.lock import LockError

from pipelines import dvc_files
from pipelines.dvc_project import DvcProject

# Holds DVC's repository lock as a running `dvc` does; half of dvc.lock is on disk until a line comes in.
WRITER = """
import sys
from pathlib import Path
from dvc.repo import Repo

lock = Path("dvc.lock")
whole = lock.read_text()
with Repo(".").lock:
    lock.write_text(whole[: whole.index("  report:")])  # valid YAML, from which stages are missing
    print("half", flush=True)
    sys.stdin.readline()
    lock.write_text(whole)
"""


@pytest.fixture
def writer(reproduced: Path) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER], cwd=reproduced, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "half\n"
    return process


def test_a_lock_file_that_is_being_written_is_read_when_it_is_whole(
    reproduced: Path, writer: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    waited = []

    def end_of_writing(seconds: float) -> None:  # the reader waits: now the writer may end
        waited.append(seconds)
        writer.communicate("\n")

    monkeypatch.setattr("dvc.lock.time.sleep", end_of_writing)
    with DvcProject(reproduced) as project:
        assert "report" in project.lock
        assert all(project.fresh(name) for name in project.stages)
    assert len(waited) == 1


def test_a_working_copy_that_another_dvc_holds_is_not_read(
    reproduced: Path, writer: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dvc_files, "PATIENCE", 0.01)
    monkeypatch.setattr("dvc.lock.time.sleep", lambda _: None)
    with pytest.raises(LockError):
        DvcProject(reproduced)
    writer.communicate("\n")


def test_the_lock_is_given_back(reproduced: Path) -> None:
    for _ in range(2):
        with DvcProject(reproduced) as project:
            assert not project.changes("report")["outs"]
