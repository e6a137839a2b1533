"""Running a stage: streaming, cancelling, failing, two at once, and the pair of parsers that DVC and Dagster need."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import psutil
import pytest

from pipelines.dvc_project import DvcProject
from pipelines.processes import GRACE_SECONDS, stop
from pipelines.stage_run import code_block, run_process
from tests.pipelines import toy_project as toy

Build = Callable[[Path], dg.Definitions]
DVC = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item"]


def processes_in(folder: Path) -> list[psutil.Process]:
    """Processes whose working directory is the project."""
    found = []
    for process in psutil.process_iter(["cwd"]):
        if process.info["cwd"] and Path(process.info["cwd"]).is_relative_to(folder):
            found.append(process)
    return found


def wait_until(true: Callable[[], object], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)


def test_interrupt_leaves_no_process_and_no_lock(reproduced: Path) -> None:
    toy.edit(reproduced, "params.yaml", "steps: 0", "steps: 120")
    code = (
        "import os, pathlib, signal\nfrom pipelines.stage_run import code_block, run_process\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it\n"
        f"run_process({[*DVC, 'slow']!r}, pathlib.Path({str(reproduced)!r}), dict(os.environ))"
    )
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: any(process.name() == "sleep" for process in processes_in(reproduced)))
    started = time.monotonic()
    worker.send_signal(signal.SIGINT)
    worker.wait(timeout=60)
    assert processes_in(reproduced) == []
    assert time.monotonic() - started < 30, "a grace of 5 s, then kill"
    toy.edit(reproduced, "params.yaml", "steps: 120", "steps: 0")
    assert "cached" in toy.repro(reproduced, "--single-item", "slow"), "locks are free, dvc.lock is whole"


def test_killed_worker_leaves_no_orphan(tmp_path: Path) -> None:
    """The stage itself dies first (of a broken pipe, say); what it started in a session of its own is ended too."""
    stage = "import subprocess, time; subprocess.Popen(['sleep', '600'], start_new_session=True); time.sleep(600)"
    code = (
        "import os, sys, pathlib\nfrom pipelines.stage_run import code_block, run_process\n"
        f"run_process([sys.executable, '-c', {stage!r}], pathlib.Path({str(tmp_path)!r}), dict(os.environ))"
    )
    worker = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: any(process.name() == "sleep" for process in processes_in(tmp_path)))
    worker.kill()
    for process in processes_in(tmp_path):
        if process.name() != "sleep":
            process.kill()
    wait_until(lambda: processes_in(tmp_path) == [])


def test_what_a_dead_process_left_has_time_to_clean_up(tmp_path: Path) -> None:
    """As a run's worker, where the process of Dagster's servers has been killed."""
    member = (
        "import pathlib, signal, sys, time\n"
        "def end(*_):\n    time.sleep(0.5)\n    pathlib.Path('cleaned').touch()\n    sys.exit()\n"
        "signal.signal(signal.SIGINT, end)\npathlib.Path('ready').touch()\ntime.sleep(600)"
    )
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {member!r}])"
    leader = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, start_new_session=True)
    assert leader.wait() == 0
    wait_until((tmp_path / "ready").exists)
    started = time.monotonic()
    stop(leader.pid)
    assert (tmp_path / "cleaned").exists() and time.monotonic() - started < GRACE_SECONDS
    wait_until(lambda: processes_in(tmp_path) == [])


def test_failed_stage_says_its_last_lines(reproduced: Path, instance: dg.DagsterInstance, definitions: Build) -> None:
    toy.edit(reproduced, "code/stage.py", "def main() -> None:", "def main() -> None:\n    sys.exit('disk on fire')\n")
    job = definitions(reproduced).resolve_job_def("whole_graph")
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    failure = result.failure_data_for_node("words_a")
    assert failure is not None and failure.user_failure_data is not None
    assert "disk on fire" in (failure.user_failure_data.description or "")


@pytest.mark.slow
def test_what_a_stage_printed_does_not_leave_its_block_of_code() -> None:
    assert code_block("two\nlines") == "```\ntwo\nlines\n```"
    assert code_block("a ``` b\n````\n\x1b[31m# c") == "`````\na ``` b\n````\n\\x1b[31m# c\n`````"


def test_two_runs_at_once_keep_dvc_lock_whole(project: Path) -> None:
    stages = ["words@a", "words@b"]
    both = [subprocess.Popen([*DVC, stage], cwd=project, stdout=subprocess.DEVNULL) for stage in stages]
    assert [run.wait(timeout=120) for run in both] == [0, 0]
    with DvcProject(project) as read:
        assert set(read.lock) == {"words@a", "words@b"}
        assert all(not read.spoiled_outputs(stage) for stage in stages)
    same = [subprocess.Popen([*DVC, "long@a"], cwd=project, stderr=subprocess.PIPE) for _ in range(2)]
    codes = [run.wait(timeout=120) for run in same]
    texts = [run.stderr.read().decode() for run in same if run.stderr]
    assert 0 in codes and all(code == 0 or "is busy" in text for code, text in zip(codes, texts, strict=True))
    with DvcProject(project) as read:
        assert set(read.lock) == {"words@a", "words@b", "long@a"}


@pytest.mark.slow
def test_dagster_waits_for_a_run_in_a_shell(reproduced: Path, tmp_path: Path, definitions: Build) -> None:
    """The stage of the shell goes on only when Dagster's run of the same stage has said that it waits."""
    gate = "until [ -f go ]; do sleep 0.1; done; "
    toy.edit(reproduced, "dvc.yaml", "cmd: python code/stage.py slow", f"cmd: {gate}python code/stage.py slow")
    shell = subprocess.Popen([*DVC, "slow"], cwd=reproduced, stdout=subprocess.DEVNULL)
    go, locks = reproduced / "go", reproduced / ".dvc/tmp/rwlock"
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        try:
            wait_until(lambda: locks.is_file() and "data/slow" in locks.read_text())
            said = threading.Thread(target=lambda: (wait_until(lambda: waits(instance)), go.touch()))
            said.start()
            job = definitions(reproduced).resolve_job_def("whole_graph")
            result = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("slow")])
            said.join()
        finally:
            go.touch()
        assert waits(instance) and result.success and shell.wait(timeout=120) == 0
        event = instance.get_latest_materialization_event(dg.AssetKey("slow"))
        assert event and event.asset_materialization
        assert event.asset_materialization.metadata["skipped by DVC"].value is True, "the shell has made it"
    with DvcProject(reproduced) as read:
        assert len(read.lock) == 7 and read.fresh("slow")


def waits(instance: dg.DagsterInstance) -> bool:
    events = [event for run in instance.get_runs() for event in instance.all_logs(run.run_id)]
    return any(re.match(r"blocked by `.*dvc.* slow` \(process \d+\); trying", event.user_message) for event in events)


def test_string_selection_and_exp_run_share_one_antlr(reproduced: Path, definitions: Build) -> None:
    """Dagster's parser wants antlr 4.13, DVC's hydra-core 1.3 wanted 4.9: docs/decisions.md."""
    defs = definitions(reproduced)
    graph = defs.get_repository_def().asset_graph
    found = dg.AssetSelection.from_string("key:long_a+").resolve(graph)
    assert {key.to_user_string() for key in found} == {"long_a", "join", "report", "slow"}
    assert len(dg.AssetSelection.from_string("*").resolve(graph)) == 7


@pytest.mark.slow
def test_exp_run_with_a_param(reproduced: Path) -> None:
    toy.dvc(reproduced, "exp", "run", "--temp", "-n", "longer", "-S", "cleaning.min_length=3", "report")
    assert "longer" in toy.dvc(reproduced, "exp", "list")
    before = (reproduced / "data/report/documents/words.txt").read_text()
    toy.dvc(reproduced, "exp", "apply", "longer")
    after = (reproduced / "data/report/documents/words.txt").read_text()
    assert len(before.split()) == 17 and len(after.split()) == 2, "a10 and a11 alone have three letters"
    with DvcProject(reproduced) as read:
        assert all(read.locked_code_version(s) == read.workspace_code_version(s) for s in ("long@a", "join", "report"))


def test_output_passes_through(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, tail = run_process([sys.executable, "-c", "print('ä'); raise SystemExit(3)"], tmp_path, dict(os.environ))
    assert (code, tail) == (3, ["ä"])
    assert capsys.readouterr().out == "ä\n"
