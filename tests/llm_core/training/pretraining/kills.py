"""Killing a training with SIGKILL at random steps, as a power cut or the kernel would."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.llm_core.training.pretraining import tiny
from tests.warm import start


def survive(folder: Path, kills: int, seed: int, out: str = "killed", **settings: Any) -> list[str]:
    """Run to the end in spite of `kills` kills, of the verb or of a worker by turns; what was killed when."""
    generator, told = random.Random(seed), []
    processes = settings.get("launch__pretraining__processes", 1)
    steps = settings.get("pretraining__steps", tiny.SETTINGS["pretraining.steps"])
    steps = steps or sum(phase["steps"] for phase in settings["pretraining__phases"])
    done = 0
    for kill in range(kills):
        target = min(done + generator.randint(0, max(2 * (steps - done) // (kills - kill + 1), 1)), steps - 1)
        process = subprocess.Popen(
            _command(folder, out, settings), cwd=folder, env=tiny.environment(), stderr=subprocess.PIPE, text=True
        )
        victim = None
        while process.poll() is None and victim is None:
            if _step(folder) >= target and _step(folder) >= done:
                time.sleep(generator.random() * 0.05)
                victim = process.pid if kill % 2 else _worker(folder, processes)
                if victim:
                    os.kill(victim, signal.SIGKILL)
            time.sleep(0.02)
        errors = process.communicate()[1]
        if victim is None:
            raise AssertionError(f"ended with {process.returncode} before kill {kill + 1}")
        if victim != process.pid and processes == 1:
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
        _command(folder, out, settings), cwd=folder, env=tiny.environment(), stderr=subprocess.PIPE, text=True,
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


def _command(folder: Path, out: str, settings: dict[str, Any]) -> list[str]:
    """The verb in a process that starts warm, and so do its launcher and workers; a kill of the client that starts it
    (tests/warm) is a kill of the verb."""
    return [start.python(), *tiny.command(folder, out, **settings)[1:]]


def _worker(folder: Path, processes: int) -> int | None:
    """A training process of the run in `folder`, the last that was started; None until all have started."""
    programs = sorted(filter(_is_program, workers(folder)))
    others = 1 if processes == 1 else 2  # the verb, and for several processes their launcher
    return programs[-1] if len(programs) == others + processes else None


def _is_program(pid: int) -> bool:
    """Whether a process is the verb, its launcher or a worker: none that starts one warm, none that a worker starts."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended
        return False
    starts = line.startswith(b"/bin/sh") or b"warm/client.py" in line
    return not starts and any(name in line for name in (b"warm/server.py", b"llm_core.cli", b"deepspeed.launcher"))


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
