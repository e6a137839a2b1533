"""What works at this moment: one small file for each running verb, which `llm-core watch` reads.

`.scratch/running/ID.json` in the project's folder says which verb runs, for which stage, how far it is, and what it
last said. It is replaced whole at each change, so that a reader never sees half of one, and removed when the verb ends.
The process holds a lock on `ID.lock` beside it. The kernel drops the lock with the process, so that the file of a
killed verb is recognised by the free lock, never by a process id, which another host or container may have.

A verb starts others (`pretrain` its training processes, `scaling` its rungs): each has a file of its own, with the id
of the outer one as `parent`. These files decide no bytes; where one cannot be written, the verb goes on without it.
"""

import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from llm_core.runtime.locks import locked

FOLDER = Path(".scratch/running")
PARENT = "LLM_CORE_RUNNING"  # id of the verb that started this process
SECONDS = 0.5  # minimum time between two writes for progress; a line that was logged is written at once
LINES = 12  # number of the last lines that are kept
_own: "Status | None" = None


class Status:
    """The file of this process. Only the process that made it writes; forked workers inherit the object."""

    def __init__(self, folder: Path, row: dict[str, Any]) -> None:
        self.row, self._pid, self._guard, self._written = row, os.getpid(), threading.Lock(), 0.0
        self._lines: deque[str] = deque(maxlen=LINES)
        self._file = folder / f"{row['id']}.json"
        self._lock_file = folder / f"{row['id']}.lock"
        folder.mkdir(parents=True, exist_ok=True)
        beginning = folder / f"{row['id']}.begin"  # takes its name when it is locked: a free lock is a dead process's
        self._lock = os.open(beginning, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        beginning.rename(self._lock_file)
        self._write()

    def tell(self, state: Callable[[], dict[str, Any]] | None) -> None:
        """Show the state of a piece of work, called only where it is written; None at its end."""
        if os.getpid() == self._pid and (state is None or time.monotonic() - self._written >= SECONDS):
            with self._guard:
                self.row["task"] = state() if state else None
                self._write()

    def say(self, line: str) -> None:
        """Add a line to the last ones."""
        if os.getpid() == self._pid:
            with self._guard:
                self._lines.append(line)
                self._write()

    def close(self) -> None:
        """Remove the file."""
        if os.getpid() == self._pid:
            for file in (self._file, self._lock_file):
                file.unlink(missing_ok=True)
            os.close(self._lock)

    def _write(self) -> None:
        self._written = time.monotonic()
        part = self._file.with_suffix(".part")
        with suppress(OSError):  # a full disk stops the verb where it writes its output, not here
            part.write_text(json.dumps({**self.row, "lines": [*self._lines], "written": time.time()}), "utf-8")
            part.replace(self._file)


@contextmanager
def running(verb: str, arguments: Sequence[str]) -> Iterator[None]:
    """Have a file while the block works; none outside a project, for ranks above 0, or where no output is written."""
    global _own
    folder = Path(os.environ.get("DVC_ROOT") or ".")  # the project itself, also in DVC's copy for an experiment
    writes = any(argument.partition("=")[0] in ("--out", "--out-file") for argument in arguments)
    if not writes or not (folder / "dvc.yaml").is_file() or os.environ.get("RANK", "0") != "0":
        yield
        return
    outer, before = os.environ.get(PARENT), _own
    row = {
        "id": secrets.token_hex(6),
        "parent": outer,
        "verb": verb,
        "stage": os.environ.get("DVC_STAGE"),
        "experiment": os.environ.get("DVC_EXP_NAME"),
        "dagster_run": os.environ.get("LLM_CORE_DAGSTER_RUN_ID"),
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "started": time.time(),
        "task": None,
    }
    with suppress(OSError):  # a folder that is read-only for this process
        _own = Status(folder / FOLDER, row)
        os.environ[PARENT] = str(row["id"])
    try:
        yield
    finally:
        if _own is not None and _own is not before:
            _own.close()
        _own = before
        os.environ.pop(PARENT, None)
        if outer:
            os.environ[PARENT] = outer


def tell(state: Callable[[], dict[str, Any]] | None) -> None:
    """Show how far a piece of work of this verb is: its state, or None at its end."""
    if _own is not None:
        _own.tell(state)


def say(line: str) -> None:
    """Keep a line that this verb has logged."""
    if _own is not None:
        _own.say(line)


def rows(project: Path = Path()) -> list[dict[str, Any]]:
    """The files of the verbs that run now, the oldest first; what killed ones left behind is removed."""
    found = []
    for lock in (project / FOLDER).glob("*.lock"):
        if locked(lock):
            with suppress(OSError, ValueError):  # it has just ended
                found.append(json.loads(lock.with_suffix(".json").read_text("utf-8")))
        else:
            for file in (lock.with_suffix(".json"), lock.with_suffix(".part"), lock):
                with suppress(OSError):
                    file.unlink(missing_ok=True)
    return sorted(found, key=lambda row: row["started"])
