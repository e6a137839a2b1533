"""`llm-core watch`: one page about what runs now, in a shell or under Dagster, and what is still to run.

Which stages are done, stale or waiting is DVC's comparison of dvc.lock with the working copy; it is made again only
when one of DVC's files, params.yaml or a running stage has changed. What runs is in `llm_core.runtime.running`, one
small file for each verb. Nothing is written and no stage is touched, so any number of pages may be open.
"""

import argparse
import os
import signal
import socket
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil
from dvc.lock import LockError

from llm_core.runtime import json_lines, running
from llm_core.runtime.terminal import printable, say_json, say_lines
from pipelines.dvc_files import LOCK_FILE
from pipelines.dvc_project import DvcProject
from pipelines.graph import DVC_FILE
from pipelines.plan import TIMINGS, past_runs, stale_reasons, targeted

EVERY_SECONDS = 2.0
SMOOTH = 0.1  # share of the shown losses whose mean is the smoothed one
BARS = "▁▂▃▄▅▆▇█"
SHOWN_LINES = 5
SPARK_WIDTH = 32


@dataclass
class StageState:
    """A stage of the graph. `state` is done, running, failed, restore, stale or waiting; `why` explains it."""

    stage: str
    state: str
    why: str = ""
    expected: float | None = None
    """median of the seconds of its past runs here"""


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


class Watcher:
    """Looks at the project again and again; keeps DVC's answer while nothing that it depends on has changed."""

    def __init__(self, root: Path, targets: Sequence[str] = ()) -> None:
        self.root, self.targets = root, targets
        self._seen: object = None
        self._graph: list[tuple[str, list[str], StageState]] = []
        self._note = ""

    def look(self) -> Look:
        """The present state. Raises DVC's errors and FileNotFoundError where there is no valid graph."""
        rows = running.rows(self.root)
        now = time.time()
        seen = (self._stamps(), tuple(row["id"] for row in rows))
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
            past = past_runs(self.root)
            asked = targeted(project, self.targets or [DVC_FILE])
            restored: set[str] = set()
            for name in (name for name in project.order() if name in asked):
                parents = _nearest(project, [parent for parent in project.parents[name] if parent in asked])
                waits = [parent for parent in parents if found[parent][2].state not in ("done", "restore")]
                state = StageState(name, "done", expected=past.get(name, (None, None))[0])
                if project.running(name):
                    state.state = "running"
                elif waits:
                    state.state, state.why = "waiting", f"for {', '.join(waits)}"
                elif reasons := stale_reasons(project, name):
                    if project.restorable(name, restored):
                        restored.add(name)
                        state.state, state.why = "restore", "DVC has its output in the cache"
                    else:
                        failed = bool(last.get(name, {}).get("failed"))
                        state.state, state.why = ("failed" if failed else "stale"), "; ".join(reasons)
                found[name] = (name, parents, state)
        return list(found.values())


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
    work.figures = {key: value for key, value in task["figures"].items() if key != "loss"}
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


def summary(look: Look) -> str:
    """How many stages are in each state, and the time left."""
    order = ("done", "restore", "running", "failed", "stale", "waiting")
    counts = {state: sum(stage.state == state for stage in look.stages) for state in order}
    told = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    if look.seconds_left or look.untimed:
        told += f"; about {duration(look.seconds_left)} of work left" if look.seconds_left else "; work left"
        told += f", and {look.untimed} never timed here" if look.untimed else ""
    return told


def lines(look: Look) -> Iterator[str]:
    """The look as plain lines, for a log or a pipe."""
    yield summary(look)
    if look.note:
        yield look.note
    for stage in look.stages:
        if stage.state != "done":
            yield f"{stage.state:<8} {stage.stage}{f'  {stage.why}' if stage.why else ''}"
    for item in look.work:
        yield ""
        yield headline(item)
        yield from (f"  {told}" for told in facts(item))
        yield from (f"  | {line}" for line in item.lines[-SHOWN_LINES:])
    if not look.work and not any(stage.state == "running" for stage in look.stages):
        yield "nothing runs"


def headline(item: Work) -> str:
    """Who works: stage or verb, where it was started, for how long."""
    of = f" (experiment {item.experiment})" if item.experiment else ""
    name = item.stage or f"llm-core {item.verb}"
    return f"{name}{of}: {item.where}, process {item.pid}, {duration(item.seconds)}"


def facts(item: Work) -> Iterator[str]:
    """How far it is, its loss and its memory, a line each."""
    if item.doing:
        share = f" of {_short(item.total)} ({item.done / item.total:.0%})" if item.total else ""
        rate = f", {_short(item.rate)} {item.unit}/s" if item.rate else ""
        left = f", {duration(item.seconds_left)} left" if item.seconds_left is not None else ""
        yield f"{item.doing}: {_short(item.done)}{share} {item.unit}{rate}{left}"
    figures = [f"{name.replace('_', ' ')} {value}" for name, value in item.figures.items()]
    if item.loss is not None:
        figures.insert(0, f"loss {item.loss:.4g} (smoothed) {spark(item.losses)}")
    if figures:
        yield ", ".join(figures)
    if item.memory_bytes is not None:
        yield f"memory {item.memory_bytes / 1e9:.2f} GB"


def spark(values: Sequence[float], width: int = SPARK_WIDTH) -> str:
    """A curve of block characters: each is the mean of its part of the values.

    >>> spark([4, 3, 2, 1])
    '█▆▃▁'
    """
    parts = min(len(values), width)
    means = [
        statistics.fmean(values[len(values) * part // parts : len(values) * (part + 1) // parts])
        for part in range(parts)
    ]
    low, high = min(means), max(means)
    return "".join(BARS[round((mean - low) / ((high - low) or 1) * (len(BARS) - 1))] for mean in means)


def duration(seconds: float) -> str:
    """A time for people.

    >>> duration(75), duration(7300)
    ('1:15 min', '2:01 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"


def page(look: Look) -> Any:
    """The look as a page for a terminal (rich)."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    styles = {"running": "bold cyan", "failed": "bold red", "stale": "yellow", "waiting": "dim", "restore": "blue"}
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for stage in look.stages:
        if stage.state != "done":
            style = styles[stage.state]
            usual = f"usually {duration(stage.expected)}" if stage.expected is not None else ""
            cells = (stage.state, stage.stage, stage.why or usual)
            table.add_row(*(Text(printable(cell, lines=False), style) for cell in cells))
    done = ", ".join(stage.stage for stage in look.stages if stage.state == "done")
    panels = []
    for item in look.work:
        inside: list[Any] = []
        if item.total:
            inside.append(ProgressBar(total=item.total, completed=item.done, width=60))
        inside += [Text(printable(told, lines=False)) for told in facts(item)]
        inside += [Text(printable(line, lines=False), "dim", no_wrap=True) for line in item.lines[-SHOWN_LINES:]]
        panels.append(Panel(Group(*inside), title=Text(printable(headline(item), lines=False)), title_align="left"))
    top = [Text(printable(text, lines=False), "bold") for text in (summary(look), look.note) if text]
    nothing = not look.work and not any(stage.state == "running" for stage in look.stages)
    rest = [Text("nothing runs", "dim")] if nothing else []
    return Group(*top, Text(f"done: {printable(done, lines=False)}", "green"), table, *panels, *rest)


def show(watcher: Watcher, every: float) -> None:
    """The page, renewed until Ctrl-C."""
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(highlight=False), screen=True, auto_refresh=False) as live:
        while True:
            live.update(page(watcher.look()), refresh=True)
            time.sleep(every)


def follow(watcher: Watcher, every: float, as_json: bool) -> None:
    """Where there is no terminal: a whole look first, then a line for each change; as JSON a look each time."""
    before: list[str] = []
    while True:
        look = watcher.look()
        if as_json:
            say_json(asdict(look))
        elif not before:
            say_lines(lines(look))
        now = [summary(look).partition(";")[0], *_changing(look)]
        if before and now != before and not as_json:
            say_lines([f"{time.strftime('%H:%M:%S')}  {' | '.join(now)}"])
        before = now
        time.sleep(every)


def _changing(look: Look) -> Iterator[str]:
    """What runs and how far it is, without figures that change at every look."""
    told = {item.stage: item for item in look.work}
    for stage in look.stages:
        if stage.state == "running" and stage.stage not in told:
            yield stage.stage
    for item in look.work:
        of = next(facts(item), "") if item.doing else ""
        yield f"{item.stage or item.verb}{f' ({of})' if of else ''}"


def main() -> None:
    """Entry point of `python -m pipelines.watch`, which `llm-core watch` runs."""
    parser = argparse.ArgumentParser(prog="llm-core watch", description="What runs now, and what is still to run.")
    parser.add_argument("targets", nargs="*", help="stages or dvc.yaml files; the default graph where none is named")
    parser.add_argument("--once", action="store_true", help="one look")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--every", type=float, default=EVERY_SECONDS, help="seconds between two looks")
    options = parser.parse_args()
    watcher = Watcher(Path.cwd(), options.targets)
    try:
        if options.once:
            look = watcher.look()
            if look.note and not look.stages:
                raise TimeoutError("another dvc command holds its lock, so the stages cannot be read; try again")
            say_json(asdict(look), indent=2) if options.json else say_lines(lines(look))
        elif options.json or not sys.stdout.isatty():
            follow(watcher, options.every, options.json)
        else:
            show(watcher, options.every)
    except (KeyboardInterrupt, BrokenPipeError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader may have gone
    except Exception as error:  # DVC's errors name file and line
        sys.exit(f"llm-core: error: {printable(error, lines=False)}")


def _short(value: float | None) -> str:
    if value is None:
        return "?"
    for unit in ("", "k", "M", "G"):
        if abs(value) < 1000 or unit == "G":
            return f"{value:.4g}{unit}"
        value /= 1000
    return str(value)


if __name__ == "__main__":
    main()
