"""A stage's processes: each run has a mark in its environment, and all processes with the mark are ended together.

Descendants alone are not enough: torchrun's workers open sessions of their own, and after a stage died of a broken
pipe they have no parent by which they could be found. Only psutil is imported, so that the guard below starts fast.
"""

import os
import signal
import sys
from contextlib import suppress

import psutil

MARK = "PIPELINE_STAGE_MARK"  # in the environment of a stage and of all its child processes
GRACE_SECONDS = 5.0  # seconds between Ctrl-C and kill; a stage needs much less than a second to clean up


def stop(pid: int, mark: str | None = None) -> None:
    """End a process, its session, its descendants, and all other processes with its mark.

    First with Ctrl-C, so that stages remove their scratch folders and DVC releases its locks; then with kill.
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
    for process in psutil.process_iter() if mark else ():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
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
