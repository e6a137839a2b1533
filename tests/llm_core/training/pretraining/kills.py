"""Killing a training with SIGKILL at random steps, as a power cut or the kernel would."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.llm_core.training.pretraining import tiny


def survive(folder: Path, kills: int, seed: int, out: str = "killed", **settings: Any) -> list[str]:
    """Run to the end in spite of `kills` kills, of the verb or of a worker by turns; what was killed when."""
    generator, told = random.Random(seed), []
    steps = settings.get("pretraining__steps", tiny.SETTINGS["pretraining.steps"])
    steps = steps or sum(phase["steps"] for phase in settings["pretraining__phases"])
    done = 0
    for kill in range(kills):
        target = min(done + generator.randint(0, max(2 * (steps - done) // (kills - kill + 1), 1)), steps - 1)
        process = subprocess.Popen(
            tiny.command(folder, out, **settings), cwd=folder, env=tiny.environment(), stderr=subprocess.PIPE, text=True
        )
        victim = None
        while process.poll() is None and victim is None:
            if _step(folder) >= target and _step(folder) >= done:
                time.sleep(generator.random() * 0.05)
                victim = process.pid if kill % 2 else _worker(process.pid)
                if victim:
                    os.kill(victim, signal.SIGKILL)
            time.sleep(0.02)
        errors = process.communicate()[1]
        if victim is None:
            raise AssertionError(f"ended with {process.returncode} before kill {kill + 1}")
        if victim != process.pid and settings.get("launch__pretraining__processes", 1) == 1:
            assert "the training was ended by SIGKILL" in errors
        told.append(f"kill {kill + 1}: {'verb' if kill % 2 else 'worker'} near step {_step(folder)}")
        _wait_until_gone(folder)
        done = _checkpoint(folder)
    finished = tiny.run(folder, out, **settings)
    assert finished.returncode == 0, finished.stderr
    return told


def interrupt(
    folder: Path, step: int, out: str = "killed", number: int = signal.SIGKILL, **settings: Any
) -> tuple[int, str]:
    """Start a run and send its verb a signal once a checkpoint of `step` or more is whole; the newest checkpoint's
    step, and what the run said."""
    process = subprocess.Popen(
        tiny.command(folder, out, **settings), cwd=folder, env=tiny.environment(), stderr=subprocess.PIPE, text=True,
        preexec_fn=_listen,
    )  # fmt: skip
    while process.poll() is None and _checkpoint(folder) < step:
        time.sleep(0.01)
    process.send_signal(number)
    errors = process.communicate()[1]
    assert process.returncode == (130 if number == signal.SIGINT else -number), errors
    _wait_until_gone(folder)
    return _checkpoint(folder), errors


def _listen() -> None:
    """Ctrl-C ends the process, also where the tests are a shell's background job, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _step(folder: Path) -> int:
    """The last step in the running log."""
    lines = [line for file in folder.glob(".scratch/pretraining/*/training_log.jsonl") for line in file.open()]
    return len([line for line in lines if '"learning_rate"' in line])


def _checkpoint(folder: Path) -> int:
    return max(
        (int(file.parent.name[4:]) for file in folder.glob(".scratch/pretraining/*/step*/complete.json")), default=0
    )


def _worker(pid: int) -> int | None:
    """The last process below `pid` that is no launcher: a training process."""
    found, waiting = [], [pid]
    while waiting:
        children = Path(f"/proc/{waiting.pop()}/task").glob("*/children")
        below = [int(child) for file in children for child in file.read_text().split()]
        found += below
        waiting += below
    return next((child for child in reversed(found) if not _is_launcher(child)), None)


def _is_launcher(pid: int) -> bool:
    try:
        return b"deepspeed.launcher" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return True


def _wait_until_gone(folder: Path) -> None:
    """Until no process of this run is left; AssertionError when one outlives its parent by 15 s."""
    for _ in range(150):
        if not workers(folder):
            return
        time.sleep(0.1)
    raise AssertionError(f"left behind: {workers(folder)}")


def workers(folder: Path) -> list[int]:
    """Processes whose working folder is `folder`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if entry.resolve() == folder.resolve():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found
