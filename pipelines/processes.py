"""A stage's processes: each run has a mark in its environment, and all processes with the mark are ended together.

Descendants alone are not enough: torchrun's workers open sessions of their own, and after a stage died of a broken
pipe they have no parent by which they could be found. Only psutil is imported, so that the guard below starts fast.
A `Server` is a process that is started again when it dies.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "PIPELINE_STAGE_MARK"  # in the environment of a stage and of all its child processes
GRACE_SECONDS = 5.0  # seconds between Ctrl-C and kill; a stage needs much less than a second to clean up
QUICK_SECONDS = 30.0  # a server that ends so soon after its start may not be able to run at all
QUICK_DEATHS = 3


class Server:
    """A running process, `process`, that `keep` starts again.

    With a `log` its output is appended there, and it has a session of its own; else it shares its parent's.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.name, self._command, self._cwd, self._environment, self._log = name, command, cwd, environment, log
        self._quick_deaths = 0
        if log:
            log.write_bytes(b"")
        self._start()

    def _start(self) -> None:
        self._started = time.monotonic()
        with open(self._log or os.devnull, "ab") as log:
            output = log if self._log else None
            self.process = subprocess.Popen(
                self._command, cwd=self._cwd, env=self._environment, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output, start_new_session=self._log is not None,
            )  # fmt: skip

    def keep(self) -> None:
        """Start the process again if it has ended, after ending what it left of its process group, by `stop`.

        Raises RuntimeError where it ended within QUICK_SECONDS of its start QUICK_DEATHS times in a row.
        """
        code = self.process.poll()
        if code is None:
            return
        stop(self.process.pid)
        quick = time.monotonic() - self._started < QUICK_SECONDS
        self._quick_deaths = self._quick_deaths + 1 if quick else 0
        if self._quick_deaths == QUICK_DEATHS:
            raise RuntimeError(
                f"{self.name} ended {QUICK_DEATHS} times in a row within {QUICK_SECONDS:.0f} s of its start, "
                f"last with code {code}"
            )
        print(f"{self.name} has ended with code {code}; it is started again", flush=True)
        self._start()


def stop(pid: int, mark: str | None = None) -> None:
    """End a process, its process group, its descendants, and all other processes with its mark.

    First with Ctrl-C, so that stages remove their scratch folders and DVC releases its locks; then with kill. The group
    gets its GRACE_SECONDS also where the process itself has died.
    """
    family = _family(pid, mark)
    _signal(pid, family, signal.SIGINT)
    _, alive = psutil.wait_procs(family, timeout=GRACE_SECONDS)
    family = list({*alive, *_family(pid, mark)})
    _signal(pid, family, signal.SIGKILL)
    psutil.wait_procs(family, timeout=GRACE_SECONDS)


def _family(pid: int, mark: str | None) -> list[psutil.Process]:
    found: set[psutil.Process] = set()
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(pid)
        found = {parent, *parent.children(recursive=True)}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            grouped = os.getpgid(process.pid) == pid and process.status() != psutil.STATUS_ZOMBIE
            if grouped or (mark and process.environ().get(MARK) == mark):
                found.add(process)
    return list(found)


def _signal(group: int, family: list[psutil.Process], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)
    for process in family:
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getpgid(process.pid) != group:
                process.send_signal(number)


def guard(pid: int, mark: str) -> None:
    """End the stage when standard input closes without data, because the process that ran it was killed."""
    if not sys.stdin.buffer.read():
        stop(pid, mark)


if __name__ == "__main__":
    guard(int(sys.argv[1]), sys.argv[2])
