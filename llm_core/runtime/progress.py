"""What a person sees while a stage works: a bar on a terminal, plain lines in a log.

Under Dagster the environment carries a Pipes context (through `dvc repro` too); then the
same lines and the stage's metadata stream to Dagster as Pipes messages. `llm-core watch` reads the same from the
verb's file (`running.py`).
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Self

from tqdm import tqdm

from llm_core.runtime import running
from llm_core.runtime.redaction import redact
from llm_core.runtime.terminal import printable

LINE_EVERY_SECONDS = 10.0
REPORT_EVERY_SECONDS = 30.0  # of the state that Dagster keeps as an observation of the stage's asset
PROGRESS = "progress"  # key of that report
LOSSES = 240  # points of a loss curve that are kept for `llm-core watch`; of more, every second one


class Task:
    """Progress of one piece of work; `update` as it goes on, `note` for figures beside it."""

    def __init__(self, description: str, total: float | None, unit: str, scale: bool, done: float = 0) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.done = self.before = done
        self.started = time.monotonic()
        self._began = time.time()
        self._figures: dict[str, Any] = {}
        self._noted: dict[str, Any] = {}
        self._losses: list[float] = []
        self._next_line = self.started + LINE_EVERY_SECONDS
        self._next_report = self.started + REPORT_EVERY_SECONDS
        self._bar: Any = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=total, desc=description, unit=unit, unit_scale=scale, dynamic_ncols=True, initial=done
            )

    def update(self, amount: float = 1, **figures: Any) -> None:
        """Say that `amount` more units are done; `figures` (loss, …) are shown beside."""
        self.done += amount
        self._figures.update(figures)
        if self._bar is not None:
            self._bar.update(amount)
            if figures:
                self._bar.set_postfix(figures)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + LINE_EVERY_SECONDS
            log(self.line())
        if "loss" in figures:
            self._losses.append(float(figures["loss"]))
            if len(self._losses) > LOSSES:
                del self._losses[::2]
        running.tell(self.state)
        if time.monotonic() >= self._next_report:
            self._next_report = time.monotonic() + REPORT_EVERY_SECONDS
            state = {key: value for key, value in self.state().items() if key not in ("losses", "before", "began")}
            report({PROGRESS: state | {"rate": self._rate(), "seconds_left": self._seconds_left()}})

    def note(self, **figures: Any) -> None:
        """Keep figures that are too many for a line: `llm-core watch` and Dagster show them, bar and log do not."""
        self._noted.update(figures)

    def state(self) -> dict[str, Any]:
        """What `llm-core watch` and Dagster show of it."""
        return {
            "description": self.description,
            "done": self.done,
            "before": self.before,
            "total": self.total,
            "unit": self.unit,
            "began": self._began,
            "figures": self._figures | self._noted,
            "losses": self._losses,
        }

    def line(self) -> str:
        """The state as one plain line."""
        share = f" of {_short(self.total)} ({self.done / self.total:.0%})" if self.total else ""
        figures = "".join(f", {name} {value}" for name, value in self._figures.items())
        seconds_left = self._seconds_left()
        left = f", {duration(seconds_left)} left" if seconds_left else ""
        return f"{self.description}: {_short(self.done)}{share} {self.unit}, {_short(self._rate())}/s{left}{figures}"

    def _rate(self) -> float:
        """Units a second."""
        return (self.done - self.before) / max(time.monotonic() - self.started, 1e-9)

    def _seconds_left(self) -> float | None:
        """None where it is not known."""
        rate = self._rate()
        return (self.total - self.done) / rate if rate and self.total and self.total > self.done else None

    def close(self) -> None:
        """End the bar, or print the last line."""
        if self._bar is not None:
            self._bar.close()
        else:
            log(self.line())
        running.tell(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def task(
    description: str, total: float | None = None, unit: str = "documents", scale: bool = True, done: float = 0
) -> Task:
    """Begin a piece of work: `with task("clean", total=n) as work: work.update(1)`.

    `done` units were done by an earlier process; they count for the share, never for the rate.
    """
    return Task(description, total, unit, scale, done)


def log(message: str) -> None:
    """One line for a person: above the bars on a terminal, on stderr, and to Dagster when it listens."""
    message = printable(redact(message))
    tqdm.write(message, file=sys.stderr)
    sys.stderr.flush()
    running.say(message)
    pipes = _pipes()
    if pipes is not None:
        pipes.log.info(message)


def report(payload: dict[str, Any]) -> None:
    """Hand a stage's figures to Dagster as a custom Pipes message; nothing happens outside Dagster."""
    pipes = _pipes()
    if pipes is not None:
        pipes.report_custom_message(payload)


@contextmanager
def timed(description: str) -> Iterator[None]:
    """Log how long a block took, in wall and CPU seconds."""
    wall, cpu = time.monotonic(), time.process_time()
    yield
    log(f"{description}: {time.monotonic() - wall:.1f} s ({time.process_time() - cpu:.1f} CPU s)")


@cache
def _pipes() -> Any:
    """The Pipes context of this process, opened on first use; None outside Dagster or on rank > 0."""
    if "DAGSTER_PIPES_CONTEXT" not in os.environ or os.environ.get("RANK", "0") != "0":
        return None
    import atexit

    from dagster_pipes import open_dagster_pipes

    context = open_dagster_pipes()
    atexit.register(context.close)
    return context


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


def _short(value: float | None) -> str:
    if value is None:
        return "?"
    for unit in ("", "k", "M", "G"):
        if abs(value) < 1000 or unit == "G":
            return f"{value:.0f}{unit}" if unit == "" and value == int(value) else f"{value:.4g}{unit}"
        value /= 1000
    return str(value)
