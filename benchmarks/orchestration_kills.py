"""Kill -9 each of Dagster's processes in mid-training under a schedule that runs every minute; everything must go on.

    nice -n -5 python -m benchmarks.orchestration_kills --kills 5

`make ui` runs over the toy project of tests/pipelines, with a training of 25 seconds that keeps a checkpoint each
half second. In each round the schedule starts the training; in its middle one kind of process is killed, and a further
run is asked for as soon as the webserver answers. Measured: what became of the training (it went on, or a later run
resumed it at its checkpoint), the seconds until the next run started, asked for or scheduled (from the kill, or from
the end of the training that it waited for), and what is still claimed at the end. Prints a table; exits with 1 where a
round fails.
"""

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psutil

from tests.pipelines import toy_project as toy
from tests.pipelines.live import ENDED, LOCATION, Live, serve
from tests.waiting import wait

STAGE = """\
  train:
    desc: A training with a checkpoint after each step
    meta: {pool: training}
    cmd: python code/train.py data/model
    deps: [code/train.py]
    params: [training]
    outs: [data/model]
"""
TRAIN = """\
import sys, time
from pathlib import Path
import yaml
settings = yaml.safe_load(open("params.yaml"))["training"]
checkpoint = Path(".scratch") / f"step-{settings['seed']}"
checkpoint.parent.mkdir(exist_ok=True)
start = int(checkpoint.read_text()) if checkpoint.exists() else 0
with open(checkpoint.with_name(f"began-{settings['seed']}"), "a") as stream:
    stream.write(f"{start} ")
for step in range(start, settings["steps"]):
    time.sleep(0.5)
    checkpoint.write_text(str(step + 1))
    print(f"step {step + 1}", flush=True)
Path(sys.argv[1]).mkdir(parents=True)
(Path(sys.argv[1]) / "model").write_text(str(settings))
"""
STEPS, KILLED_AT, LIMIT_SECONDS = 50, 10, 30
KINDS = ("worker", "daemon", "webserver", "code server", "its process with the definitions")


@dataclass
class Round:
    """What one kill did."""

    kind: str
    training: str
    next_run: float
    """seconds until the next run started"""
    problems: list[str]


def main() -> None:
    """Kill each kind so many times; a line for each, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=5, help="of each kind")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    options = parser.parse_args()
    rounds: list[Round] = []
    with tempfile.TemporaryDirectory() as place:
        project = create(Path(place) / "project")
        with serve(project, PIPELINE_CRON="* * * * *") as live:
            selector = {**LOCATION, "scheduleName": "weekly"}
            live.query("mutation($s: ScheduleSelector!){startSchedule(scheduleSelector: $s){__typename}}", s=selector)
            for number in range(options.kills):
                for kind in options.kinds:
                    done = one_round(live, kind, f"{number}-{kind.replace(' ', '-')}")
                    rounds.append(done)
                    good = "; ".join(done.problems) or "good"
                    print(f"{done.kind}: {done.training}; next run after {done.next_run:.1f} s; {good}", flush=True)
    print("\n| killed | rounds | good | the training | next run after, s: median, longest |\n|---|---|---|---|---|")
    for kind in options.kinds:
        own = [one for one in rounds if one.kind == kind]
        seconds = sorted(one.next_run for one in own)
        fates = ", ".join(sorted({re.sub(r"\d+", "N", one.training) for one in own}))
        good = sum(not one.problems for one in own)
        print(f"| {kind} | {len(own)} | {good} | {fates} | {seconds[len(own) // 2]:.1f}, {seconds[-1]:.1f} |")
    sys.exit(any(one.problems for one in rounds))


def create(folder: Path) -> Path:
    """The toy project with the training, everything else made."""
    toy.create(folder)
    toy.repro(folder)
    with open(folder / "dvc.yaml", "a") as stream:
        stream.write(STAGE)
    (folder / "code" / "train.py").write_text(TRAIN)
    with open(folder / "params.yaml", "a") as stream:
        stream.write(f"training: {{seed: none, steps: {STEPS}}}\n")
    return folder


def one_round(live: Live, kind: str, seed: str) -> Round:
    """Let the schedule start a training, kill, ask for a further run, and wait until all is done."""
    params = live.project / "params.yaml"
    edited = live.project / "edited.yaml"
    edited.write_text(re.sub(r"seed: [^,]*", f"seed: {seed}", params.read_text()))
    edited.replace(params)
    checkpoint = live.project / ".scratch" / f"step-{seed}"
    wait(lambda: steps_done(checkpoint) >= KILLED_AT, 200, "the schedule to start the training")
    with instance(live) as dagster:
        (first,) = dagster.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        for process in victims(live, kind):
            process.kill()
        killed, at = time.time(), steps_done(checkpoint)
        asked = str(wait(lambda: ask(live), 120, "the webserver to take a run"))
        wait(lambda: run_ended(dagster, first.run_id) and run_ended(dagster, asked), 240, "both runs")
        wait(lambda: not unfinished(dagster), 240, "the scheduled runs that were queued")
        before, after = dagster.get_run_record_by_id(first.run_id), dagster.get_run_record_by_id(asked)
        assert before and after and before.end_time and after.start_time
        began = [int(step) for step in checkpoint.with_name(f"began-{seed}").read_text().split()]
        training, problems = fate(before, began, at), []
        if after.dagster_run.status != dg.DagsterRunStatus.SUCCESS:
            problems.append(f"the further run: {after.dagster_run.status.value}")
        ready = before.end_time if "went on" in training else killed
        started = [one.start_time for one in dagster.get_run_records(limit=50) if one.start_time]
        seconds = min(moment for moment in started if moment >= ready) - ready
        if seconds > LIMIT_SECONDS:
            problems.append(f"the next run started after {seconds:.0f} s")
        if training.startswith("began anew"):
            problems.append(training)
        if "went on" in training and before.dagster_run.status != dg.DagsterRunStatus.SUCCESS:
            problems.append(f"its run: {failure(dagster, first.run_id)}")
        if steps_done(checkpoint) != STEPS:
            problems.append(f"the training ended at step {steps_done(checkpoint)} of {STEPS}")
        problems += claimed(live, dagster)
    return Round(kind, training, seconds, problems)


def fate(first: dg.RunRecord, began: list[int], killed_at: int) -> str:
    """What became of the training: the steps at which its processes began say it."""
    status = first.dagster_run.status.value
    if began == [0]:
        return f"went on ({status})"
    return f"resumed at step {began[-1]} ({status})" if min(began[1:]) >= killed_at else f"began anew at step {began}"


def failure(dagster: dg.DagsterInstance, run_id: str) -> str:
    """Why a run failed, by its log."""
    events = dagster.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    return "; ".join(event.message for event in events)


def instance(live: Live) -> dg.DagsterInstance:
    """The instance of the live servers."""
    return dg.DagsterInstance.from_config(str(live.project / ".dagster"))


def steps_done(checkpoint: Path) -> int:
    """Steps of the checkpoint; 0 before the first."""
    return int(checkpoint.read_text() or 0) if checkpoint.exists() else 0


def ask(live: Live) -> str | None:
    """Ask the webserver for a run of the training; None while it does not answer or has no definitions yet."""
    with suppress(OSError, AssertionError, KeyError, TypeError):
        return live.launch("train")
    return None


def run_ended(dagster: dg.DagsterInstance, run_id: str) -> bool:
    """Whether a run has ended."""
    run = dagster.get_run_by_id(run_id)
    return run is not None and run.status.value in ENDED


def unfinished(dagster: dg.DagsterInstance) -> list[str]:
    """Runs that have not ended."""
    return [run.run_id for run in dagster.get_runs(limit=100) if run.status.value not in ENDED]


def claimed(live: Live, dagster: dg.DagsterInstance) -> list[str]:
    """Places in the pool, and paths in DVC's list of claims, that are still taken; processes that are left."""

    def taken() -> list[str]:
        pool = dagster.event_log_storage.get_concurrency_info("training")
        lock = live.project / ".dvc" / "tmp" / "rwlock"
        found = [f"{pool.active_slot_count} places of the pool are claimed"] if pool.active_slot_count else []
        if lock.exists() and "write" in lock.read_text():
            found.append(f"DVC's claims: {lock.read_text()}")
        return found + [f"process {process.pid} is left" for process in trainings(live)]

    with suppress(AssertionError):
        wait(lambda: not taken(), 30, "the places to be free")
    return taken()


def trainings(live: Live) -> list[psutil.Process]:
    """Processes of the training."""
    return [process for process in family(live.project) if "code/train.py" in process.cmdline()]


def family(project: Path) -> Iterator[psutil.Process]:
    """All living processes that work in the project."""
    for process in psutil.process_iter(["cwd"]):
        with suppress(psutil.Error):
            if process.info["cwd"] == str(project) and process.status() != psutil.STATUS_ZOMBIE:
                yield process


def victims(live: Live, kind: str) -> list[psutil.Process]:
    """The processes of one kind."""
    if kind == "worker":
        parents = trainings(live)[0].parents()
        return [next(p for p in parents if not any("dvc" in part or "train.py" in part for part in p.cmdline()))]
    words = {
        "daemon": ["dagster._daemon"],
        "webserver": ["dagster_webserver"],
        "code server": ["code-server", "grpc"],
        "its process with the definitions": ["grpc"],
    }[kind]
    found = [p for p in psutil.Process(live.process.pid).children(recursive=True) if {*words} & {*p.cmdline()}]
    assert len(found) >= len(words), f"{kind}: {found}"
    return found


if __name__ == "__main__":
    main()
