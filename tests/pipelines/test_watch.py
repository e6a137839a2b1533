"""`llm-core watch` on real stages: under `dvc repro`, in a real training, after a kill."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pipelines.look import Watcher, described
from pipelines.watch import duration, lines, summary
from tests.llm_core.training.pretraining import tiny
from tests.pipelines import toy_project as toy
from tests.waiting import wait

TRAINING = """\
stages:
  pretrain:
    cmd: {command}
    params: [seed]
    deps: [tokens, tokenizer]
    outs: [model]
  after:
    cmd: cp -r model copied
    deps: [model]
    outs: [copied]
"""
ROW: dict[str, Any] = {
    "id": "a", "parent": None, "verb": "pretrain", "stage": "pretrain", "experiment": None, "dagster_run": None,
    "pid": 1, "host": "another host", "started": 1000.0, "task": None, "lines": [], "written": 1040.0,
}  # fmt: skip
TASK = {
    "description": "pretrain", "done": 60, "before": 20, "total": 100, "unit": "tokens", "began": 1020.0,
    "figures": {"loss": 3, "smoothed_loss": 4, "learning_rate": "0.001"}, "losses": [9.0] * 18 + [4.0, 3.0],
}  # fmt: skip


def states(watcher: Watcher) -> dict[str, str]:
    return {stage.stage: stage.state for stage in watcher.look().stages}


def test_time_left_follows_from_what_this_process_did() -> None:
    inner = ROW | {"id": "b", "parent": "a", "pid": 2, "started": 1010.0, "task": TASK, "lines": ["step 4"]}
    [work] = described([ROW | {"lines": ["begins"]}, inner], now=1050.0)
    assert (work.pid, work.seconds, work.lines, work.memory_bytes) == (1, 50.0, ["begins", "step 4"], None)
    assert work.rate == 40 / 20, "20 of the 60 tokens were done before this process began"
    assert work.seconds_left == 40 / 2 - 10, "ten seconds have passed since the file was written"
    assert work.loss == 3.5, "the mean of the last tenth of 20 losses"
    assert work.figures == {"learning_rate": "0.001"}


def test_work_of_a_dagster_run_and_of_an_experiment_says_so() -> None:
    [work] = described([ROW | {"dagster_run": "1f2e3d4c-5b6a", "experiment": "game"}], now=1001.0)
    assert (work.where, work.experiment) == ("Dagster run 1f2e3d4c", "game")


def test_durations() -> None:
    assert [duration(seconds) for seconds in (0.4, 59.7, 3599, 3600)] == ["0 s", "1:00 min", "59:59 min", "1:00 h"]


def test_stages_before_and_after_a_run(project: Path, reproduced: Path) -> None:
    watcher = Watcher(project)
    look = watcher.look()
    assert summary(look) == "2 stale, 5 waiting; work left, and 7 never timed here"
    waiting = {stage.stage: stage.why for stage in look.stages if stage.state == "waiting"}
    assert waiting["join"] == "for long@a, long@b" and waiting["report"] == "for join"
    assert list(lines(look))[-1] == "nothing runs"

    finished = Watcher(reproduced)
    assert set(states(finished).values()) == {"done"}
    toy.edit(reproduced, "params.yaml", "min_length: 2", "min_length: 3")
    assert states(finished)["long@a"] == "stale" and states(finished)["words@a"] == "done"
    [stage] = [stage for stage in finished.look().stages if stage.stage == "long@a"]
    assert stage.why == "param cleaning.min_length: 2 -> 3"


def test_a_stage_that_runs_in_a_shell_is_seen_to_its_end(reproduced: Path) -> None:
    toy.edit(reproduced, "params.yaml", "steps: 0", "steps: 4")
    watcher = Watcher(reproduced)
    assert states(watcher)["slow"] == "stale"
    command = [sys.executable, "-m", "dvc", "repro", "slow"]
    with subprocess.Popen(command, cwd=reproduced, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        wait(lambda: states(watcher)["slow"] == "running", what="the stage as running")
        assert process.wait() == 0
    assert states(watcher)["slow"] == "done"


def test_a_failed_stage_is_told_from_a_stale_one(reproduced: Path) -> None:
    toy.edit(reproduced, "params.yaml", "title: toy", "title: game")
    (reproduced / ".scratch").mkdir(exist_ok=True)
    row = {"verb": "report", "stage": "report", "failed": True, "out": "data/report", "seconds": 1.0, "ended": 1}
    (reproduced / ".scratch/timings.jsonl").write_text(json.dumps(row) + "\n")
    assert states(Watcher(reproduced))["report"] == "failed"


def test_the_verb_prints_one_look(reproduced: Path) -> None:
    def watch(*options: str) -> str:
        command = [sys.executable, "-m", "llm_core.cli", "watch", "--once", *options]
        return subprocess.run(command, cwd=reproduced, capture_output=True, text=True, check=True).stdout

    assert watch().splitlines() == ["7 done", "nothing runs"]
    look = json.loads(watch("--json", "join"))
    assert {stage["stage"] for stage in look["stages"]} == {"words@a", "long@a", "words@b", "long@b", "join"}


@pytest.mark.slow  # a training of 15 s
def test_a_real_training_and_its_kill(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path)
    command = tiny.command(folder, "model", pretraining__steps=5000, pretraining__evaluate_every=5000)
    (folder / "dvc.yaml").write_text(TRAINING.format(command=json.dumps(" ".join(map(quoted, command)))))
    for each in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run([sys.executable, "-m", *each] if each[0] == "dvc" else each, cwd=folder, check=True)
    dvc = [sys.executable, "-m", "dvc", "repro"]
    watcher = Watcher(folder)
    with subprocess.Popen(dvc, cwd=folder, env=tiny.environment(), start_new_session=True) as process:
        try:
            work = wait(lambda: next((w for w in watcher.look().work if w.loss), None), what="a loss")
            assert states(watcher) == {"pretrain": "running", "after": "waiting"}
            assert (work.stage, work.where, work.unit, work.total) == ("pretrain", "shell", "tokens", 5000 * 256)
            assert work.rate > 0 and work.seconds_left > 0 and float(work.figures["learning_rate"]) > 0
            assert work.memory_bytes > 50_000_000, "the training process is a child of the verb"
            later = wait(lambda: next((w for w in watcher.look().work if w.done > work.done), None), what="progress")
            assert later.seconds > work.seconds
        finally:
            os.killpg(process.pid, signal.SIGKILL)
    wait(lambda: not watcher.look().work, 30, "the end of the killed training")
    assert states(watcher) == {"pretrain": "stale", "after": "waiting"}
    assert not list((folder / ".scratch/running").iterdir())


def test_the_page_follows_until_ctrl_c(reproduced: Path) -> None:
    command = [sys.executable, "-m", "llm_core.cli", "watch", "--every", "0.2"]
    with subprocess.Popen(
        command, cwd=reproduced, stdout=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    ) as page:  # fmt: skip
        try:
            assert page.stdout is not None
            assert [page.stdout.readline() for _ in range(2)] == ["7 done\n", "nothing runs\n"]
            toy.edit(reproduced, "params.yaml", "title: toy", "title: game")
            assert page.stdout.readline().partition("  ")[2] == "6 done, 1 stale\n"
            os.killpg(page.pid, signal.SIGINT)
            assert page.wait(30) == 0
        finally:
            with suppress(ProcessLookupError):
                os.killpg(page.pid, signal.SIGKILL)


def quoted(argument: str) -> str:
    return f"'{argument}'"
