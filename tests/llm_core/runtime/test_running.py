"""The files of running verbs: there while a verb works, and never taken for one that was killed."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llm_core.runtime import progress, running
from tests.waiting import wait

ARGUMENTS = ["clean", "--out", "data/clean"]
SLEEPER = """
import time
from llm_core.runtime import progress, running
with running.running("clean", ["clean", "--out", "data/clean"]):
    progress.log("has begun")
    time.sleep(600)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "DVC_STAGE", "RANK", running.PARENT):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_verb_tells_what_it_does_and_leaves_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "clean@web")
    monkeypatch.setattr(running, "SECONDS", 0.0)
    with running.running("clean", ARGUMENTS):
        with progress.task("clean", total=4, unit="bytes") as work:
            work.update(1, loss="2.5")
            [row] = running.rows()
            assert (row["verb"], row["stage"], row["pid"], row["parent"]) == ("clean", "clean@web", os.getpid(), None)
            assert (row["task"]["done"], row["task"]["total"], row["task"]["losses"]) == (1, 4, [2.5])
        [row] = running.rows()
        assert row["task"] is None and row["lines"][0].startswith("clean: 1 of 4 (25%) bytes, ")
    assert not running.rows() and not list(Path(".scratch/running").iterdir())


def test_an_inner_verb_names_the_outer_one(project: Path) -> None:
    with running.running("scaling", ["scaling", "--out=laws"]):
        with running.running("pretrain", ["pretrain", "--out", "model"]):
            progress.log("a line of the inner one")
            outer, inner = running.rows()
            assert inner["parent"] == outer["id"] and not outer["lines"] and len(inner["lines"]) == 1
        progress.log("a line of the outer one")
        [row] = running.rows()
        assert row["lines"] == ["a line of the outer one"]
    assert running.PARENT not in os.environ


@pytest.mark.parametrize("arguments", [["plan"], ["trace", "--text", "words"]])
def test_a_verb_without_output_has_no_file(project: Path, arguments: list[str]) -> None:
    with running.running(arguments[0], arguments):
        assert not (project / ".scratch").exists()


def test_nothing_is_written_outside_a_project_or_by_other_ranks(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with running.running("pretrain", ARGUMENTS):
        assert not (project / ".scratch").exists()
    monkeypatch.delenv("RANK")
    (project / "dvc.yaml").unlink()
    with running.running("pretrain", ARGUMENTS):
        assert not (project / ".scratch").exists()


def test_a_folder_that_cannot_be_written_stops_no_verb(project: Path) -> None:
    (project / ".scratch").write_text("a file where the folder should be")
    with running.running("clean", ARGUMENTS):
        progress.log("goes on")
    assert not running.rows()


def test_a_killed_verb_is_recognised_by_its_lock(project: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SLEEPER], stderr=subprocess.DEVNULL)
    try:
        wait(lambda: any(row["lines"] for row in running.rows()), what="the verb's file")
        [row] = running.rows()
        assert row["pid"] == process.pid
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert [file.suffix for file in sorted(Path(".scratch/running").iterdir())] == [".json", ".lock"]
    assert not running.rows() and not list(Path(".scratch/running").iterdir())


def _log() -> None:
    progress.log("a worker's line")


def test_forked_workers_leave_the_file_alone(project: Path) -> None:
    with running.running("clean", ARGUMENTS):
        worker = multiprocessing.get_context("fork").Process(target=_log)
        worker.start()
        worker.join()
        [row] = running.rows()
        assert row["lines"] == [] and worker.exitcode == 0


def test_a_reader_never_sees_half_a_file(project: Path) -> None:
    with running.running("clean", ARGUMENTS), ThreadPoolExecutor(1) as pool:
        [file] = Path(".scratch/running").glob("*.json")
        reading = pool.submit(lambda: [len(json.loads(file.read_text())["lines"]) for _ in range(2000)])
        number = 0
        while not reading.done():
            number += 1
            progress.log(f"line {number} " + "x" * 2000)
        assert max(reading.result()) == running.LINES
