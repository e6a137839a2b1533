"""`llm-core watch`: one page about what runs now, in a shell or under Dagster, and what is still to run.

What it shows is found in `look.py`; here it becomes a page for a terminal, plain lines, or JSON.
"""

import argparse
import os
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llm_core.runtime.progress import duration
from llm_core.runtime.terminal import printable, say_json, say_lines
from pipelines.look import Look, Watcher, Work

EVERY_SECONDS = 2.0
BARS = "▁▂▃▄▅▆▇█"
SHOWN_LINES = 5
SPARK_WIDTH = 32


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
    if look.idle:
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
    rest = [Text("nothing runs", "dim")] if look.idle else []
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
