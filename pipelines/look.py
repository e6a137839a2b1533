"""What runs now, in a shell or under Dagster, and what is still to run: the project at one moment.

Which stages are done, stale or waiting is DVC's comparison of dvc.lock with the working copy; it is made again only
when one of DVC's files, params.yaml, a file that it names or a running stage has changed. What runs is in
`llm_core.runtime.running`, one small file for each verb. Nothing is written and no stage is touched, so any number may
look.
"""

import socket
import statistics
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from dvc.lock import LockError

from llm_core.params.external import input_files
from llm_core.runtime import json_lines, running
from pipelines.dvc_files import LOCK_FILE
from pipelines.dvc_project import DvcProject
from pipelines.graph import DVC_FILE
from pipelines.past_runs import TIMINGS
from pipelines.plan import edited_files, expectation, stale_reasons, targeted

WALK_SHARE = 20
SMOOTH = 0.1  # share of the shown losses whose mean is the smoothed one


@dataclass
class StageState:
    """A stage of the graph. `state` is done, running, failed, restore, stale or waiting; `why` explains it."""

    stage: str
    state: str
    why: str = ""
    expected: float | None = None
    """seconds that its past runs here let expect"""


@dataclass
class Work:
    """A verb that runs, with the state of the innermost process that it has started."""

    verb: str
    stage: str
    where: str
    pid: int
    seconds: float
    doing: str = ""
    done: float = 0.0
    total: float | None = None
    unit: str = ""
    rate: float | None = None
    seconds_left: float | None = None
    loss: float | None = None
    losses: list[float] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    memory_bytes: int | None = None
    lines: list[str] = field(default_factory=list)
    experiment: str | None = None


@dataclass
class Look:
    """The project at one moment."""

    time: float
    stages: list[StageState]
    work: list[Work]
    seconds_left: float
    untimed: int
    """stages to run that never ran here, so that nothing is known of their time"""
    note: str = ""

    @property
    def idle(self) -> bool:
        """Whether nothing runs."""
        return not self.work and not any(stage.state == "running" for stage in self.stages)


class Watcher:
    """Looks at the project again and again; keeps DVC's answer while nothing that it depends on has changed."""

    def __init__(self, root: Path, targets: Sequence[str] = ()) -> None:
        self.root, self.targets = root, targets
        self._seen: object = None
        self._graph: list[tuple[str, list[str], StageState]] = []
        self._note = ""
        self._inputs = _Inputs()

    def look(self) -> Look:
        """The present state. Raises DVC's errors and FileNotFoundError where there is no valid graph."""
        rows = running.rows(self.root)
        now = time.time()
        seen = (self._stamps(), self._inputs.stamps(), tuple(row["id"] for row in rows))
        if seen != self._seen:
            try:
                self._graph, self._note = self._stages(), ""
                self._seen = seen
            except LockError:  # asked again at the next look
                self._note = "another dvc command holds its lock; the stages are as they were before"
        work = described(rows, now)
        stages = _with_work([state for _, _, state in self._graph], self._graph, work)
        left, untimed = _left(stages, work)
        return Look(now, stages, work, left, untimed, self._note)

    def _stamps(self) -> tuple[tuple[str, int, int], ...]:
        """Names, sizes and times of the files that decide the stages' states."""
        names = [*self.root.glob("*.yaml"), *self.root.glob("experiments/**/dvc.yaml")]
        names += [*self.root.glob(LOCK_FILE), *self.root.glob(f"experiments/**/{LOCK_FILE}")]
        names += [self.root / ".dvc/tmp/rwlock", self.root / TIMINGS]
        found = [(str(file), file.stat()) for file in names if file.exists()]
        return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in found))

    def _stages(self) -> list[tuple[str, list[str], StageState]]:
        last = _last_runs(self.root)
        found: dict[str, tuple[str, list[str], StageState]] = {}
        with DvcProject(self.root) as project:
            asked = targeted(project, self.targets or [DVC_FILE])
            edited = edited_files(project)
            self._inputs.name(edited.files)
            restored: set[str] = set()
            for name in (name for name in project.order() if name in asked):
                parents = _nearest(project, [parent for parent in project.parents[name] if parent in asked])
                first = edited.stage
                if found.get(first) and found[first][2].state != "running":  # what it would write is known
                    parents = [parent for parent in parents if parent != first]
                waits = [p for p in parents if found[p][2].state not in ("done", "restore")]
                state = StageState(name, "done", expected=expectation(project, name).seconds)
                if project.running(name):
                    state.state = "running"
                elif waits:
                    state.state, state.why = "waiting", f"for {', '.join(waits)}"
                elif reasons := stale_reasons(project, name, edited):
                    if name not in edited.why and project.restorable(name, restored):
                        restored.add(name)
                        state.state, state.why = "restore", "DVC has its output in the cache"
                    else:
                        failed = bool(last.get(name, {}).get("failed"))
                        state.state, state.why = ("failed" if failed else "stale"), "; ".join(reasons)
                found[name] = (name, parents, state)
        return list(found.values())


class _Inputs:
    """Names, sizes and times of the files that params name, looked up for at most 1/WALK_SHARE of the time."""

    def __init__(self) -> None:
        self._paths: Sequence[Path] = ()
        self._again = 0.0
        self._stamps: list[tuple[str, int, int]] = []

    def name(self, paths: Sequence[Path]) -> None:
        """These are the files and folders from now on."""
        if paths != self._paths:
            self._paths, self._again = paths, 0.0

    def stamps(self) -> list[tuple[str, int, int]]:
        """(file, bytes, time of change) of each."""
        began = time.monotonic()
        if began >= self._again:
            found = []
            for path in self._paths:
                for _, file in input_files(path):
                    with suppress(FileNotFoundError):  # removed meanwhile
                        stat = file.stat()
                        found.append((str(file), stat.st_size, stat.st_mtime_ns))
            self._stamps, now = found, time.monotonic()
            self._again = now + WALK_SHARE * (now - began)
        return self._stamps


def described(rows: Iterable[dict[str, Any]], now: float) -> list[Work]:
    """The outermost running verbs, each with the progress and lines of the innermost one that it started."""
    by_id = {row["id"]: row for row in rows}
    inner: dict[str, list[dict[str, Any]]] = {}
    for row in by_id.values():
        outermost = row
        while outermost["parent"] in by_id:
            outermost = by_id[outermost["parent"]]
        inner.setdefault(outermost["id"], []).append(row)
    return [_work(by_id[name], family, now) for name, family in inner.items()]


def _work(row: dict[str, Any], family: list[dict[str, Any]], now: float) -> Work:
    innermost = max(family, key=lambda member: member["started"])
    run = row["dagster_run"]
    work = Work(
        verb=row["verb"], stage=row["stage"] or "", pid=row["pid"], seconds=max(now - row["started"], 0.0),
        where=f"Dagster run {run.partition('-')[0]}" if run else "shell",
        lines=[line for member in family for line in member["lines"]][-running.LINES :],
        memory_bytes=_memory(row), experiment=row["experiment"],
    )  # fmt: skip
    task = innermost["task"]
    if not task:
        return work
    work.doing, work.done, work.total, work.unit = (task[key] for key in ("description", "done", "total", "unit"))
    fresh, spent = work.done - task["before"], innermost["written"] - task["began"]
    if fresh > 0 and spent > 0:
        work.rate = fresh / spent
        if work.total:
            work.seconds_left = max((work.total - work.done) / work.rate - (now - innermost["written"]), 0.0)
    work.losses = [float(value) for value in task["losses"]]
    if work.losses:
        work.loss = statistics.fmean(work.losses[-max(round(len(work.losses) * SMOOTH), 1) :])
    work.figures = {key: value for key, value in task["figures"].items() if key not in ("loss", "smoothed_loss")}
    return work


def _memory(row: dict[str, Any]) -> int | None:
    """Resident bytes of the verb and all that it started; None for a process of another host or container."""
    if row["host"] != socket.gethostname():
        return None
    try:
        process = psutil.Process(row["pid"])
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return None
    total = 0
    for member in family:
        try:
            total += member.memory_info().rss
        except psutil.Error:  # it has just ended
            continue
    return total


def _last_runs(root: Path) -> dict[str, dict[str, Any]]:
    """The newest row of each stage in the run log, failed ones included."""
    rows = json_lines.load_rows(root / TIMINGS, missing_ok=True, cut_short=True)
    return {str(row["stage"]): row for row in rows if row.get("stage")}


def _nearest(project: DvcProject, parents: list[str]) -> list[str]:
    """Those of a stage's parents that no other of them waits for."""
    above = {ancestor for parent in parents for ancestor in project.ancestors(parent)}
    return [parent for parent in parents if parent not in above]


def _with_work(
    states: list[StageState], graph: list[tuple[str, list[str], StageState]], work: list[Work]
) -> list[StageState]:
    """The states, with the stages of running verbs as running and what is below them as waiting."""
    busy = {item.stage for item in work if item.stage and not item.experiment}
    now: dict[str, StageState] = {}
    for (name, parents, _), state in zip(graph, states, strict=True):
        found = StageState(state.stage, state.state, state.why, state.expected)
        waits = [parent for parent in parents if now[parent].state not in ("done", "restore")]
        if name in busy:
            found.state, found.why = "running", ""
        elif waits and found.state != "running":
            found.state, found.why = "waiting", f"for {', '.join(waits)}"
        now[name] = found
    return list(now.values())


def _left(stages: list[StageState], work: list[Work]) -> tuple[float, int]:
    """Seconds that all that is not done would take, one stage after the other; how many of the stages were never timed.

    Of a running stage, what its progress says; where it says nothing, what is left of its usual time.
    """
    running_work = {item.stage: item for item in work}
    total, untimed = 0.0, 0
    for stage in stages:
        if stage.state in ("done", "restore"):
            continue
        item = running_work.get(stage.stage) if stage.state == "running" else None
        if item and item.seconds_left is not None:
            total += item.seconds_left
        elif stage.expected is None:
            untimed += 1
        else:
            total += max(stage.expected - (item.seconds if item else 0.0), 0.0)
    return total, untimed
