"""Runs one DVC stage under Dagster: log lines stream, and cancelling stops all its processes.

`dvc --wait-for-lock repro --single-item STAGE` (the flag precedes `repro`; without it
two stages at once fail *after* having done their work). The child gets a session of its own,
which is ended as a whole on cancel; Dagster's PipesSubprocessClient signals only its direct
child and leaves the stage running.

DVC does not wait for its per-path lock: a run that would rebuild what another one reads
fails at once with "is busy"; such a run is tried again after a pause.
"""

import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_pipes import PipesMessage, PipesParams

from llm_core.runtime.progress import PROGRESS
from llm_core.runtime.redaction import redact
from llm_core.runtime.terminal import printable
from pipelines.observations import observe
from pipelines.processes import GRACE_SECONDS, MARK, stop

BUSY = "is busy, it is being blocked by"
BUSY_WAIT_SECONDS = 5.0
BUSY_PATIENCE_SECONDS = 600.0
SKIPPED = ("didn't change, skipping", "is cached - skipping run")
TAIL_LINES = 40
LAST_LINES = 12  # of a cancelled stage, in the run's log
RUN_ID = "LLM_CORE_DAGSTER_RUN_ID"  # variable in the environment of the dvc commands of a run


class StageMessageReader(dg.PipesTempFileMessageReader):
    """Reads the messages of all processes of a stage as if one process had sent them.

    A stage that DVC skips opens no session, a training opens one in the launcher and one in
    rank 0; dagster expects exactly one and warns otherwise. What a stage says of its progress goes to `observe`.
    """

    def __init__(self, observe: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self._observe = observe

    @contextmanager
    def read_messages(self, handler: Any) -> Iterator[PipesParams]:
        """Report "opened" and "closed" once, and pass on everything between."""
        handler.handle_message(_message("opened"))
        with super().read_messages(_Between(handler, self._observe)) as params:  # type: ignore[arg-type]
            yield params
        handler.handle_message(_message("closed"))


class _Between:
    def __init__(self, handler: Any, observe: Callable[[Mapping[str, Any]], None]) -> None:
        self._handler, self._observe = handler, observe

    def handle_message(self, message: PipesMessage) -> None:
        payload = (message["params"] or {}).get("payload")
        if message["method"] == "report_custom_message" and isinstance(payload, dict) and PROGRESS in payload:
            self._observe(payload[PROGRESS])
        elif message["method"] not in ("opened", "closed"):
            self._handler.handle_message(message)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)


def _message(method: Any) -> PipesMessage:
    return PipesMessage(__dagster_pipes_version="0.1", method=method, params={})


@dataclass
class StageRun:
    """Result of a run of DVC: its seconds, whether it skipped the stage, and each report of the stages."""

    seconds: float
    skipped: bool = False
    messages: list[dict[str, Any]] = field(default_factory=list)

    @property
    def reported(self) -> dict[str, Any]:
        """All reported values; of several with one name the last."""
        return {key: value for message in self.messages for key, value in message.items()}


def run_stage(context: dg.AssetExecutionContext, root: Path, stage: str, force: bool = False) -> StageRun:
    """Bring one stage up to date; raises dg.Failure with the last lines of the stage's own output."""
    arguments = ["--wait-for-lock", "repro", "--single-item", stage]
    return run_dvc(context, root, [*arguments, "--force"] if force else arguments)


def run_dvc(
    context: dg.AssetExecutionContext | dg.OpExecutionContext, root: Path, arguments: Sequence[str]
) -> StageRun:
    """Run `dvc ARGUMENTS`; the Pipes messages of its stages stream into Dagster's event log.

    Raises dg.Failure with the last lines of what it printed.
    """
    command = [sys.executable, "-m", "dvc", *arguments]
    started = time.monotonic()
    reader = StageMessageReader(partial(observe, context))
    with dg.open_pipes_session(context, dg.PipesEnvContextInjector(), reader) as session:
        variables = {**os.environ, **session.get_bootstrap_env_vars(), RUN_ID: context.run_id}
        while True:
            code, tail = run_process(command, root, variables, lambda lines: context.log.info(cancelled(lines)))
            waited = time.monotonic() - started
            if code == 0 or not any(BUSY in line for line in tail) or waited > BUSY_PATIENCE_SECONDS:
                break
            context.log.info(f"blocked by {blockers(tail)}; trying again in {BUSY_WAIT_SECONDS:.0f} s")
            time.sleep(BUSY_WAIT_SECONDS)
    if code != 0:
        text = "\n".join(tail)
        raise dg.Failure(
            description=f"`{' '.join(command[2:])}` ended with code {code}. Its last lines:\n{text}",
            metadata={
                "command": " ".join(command[2:]),
                "exit_code": code,
                "log": dg.MetadataValue.md(code_block(text)),
            },
            allow_retries=True,
        )
    messages = [message for message in session.get_custom_messages() if isinstance(message, dict)]
    skipped = any(phrase in line for line in tail for phrase in SKIPPED)
    return StageRun(time.monotonic() - started, skipped, messages)


def code_block(text: str) -> str:
    """Lines as a block of code in Markdown, which no line ends; control characters are shown as escapes."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{printable(text)}\n{fence}"


def cancelled(lines: Sequence[str]) -> str:
    """What a run's log says of its cancelled stage: the end of its output, where a training says what it keeps."""
    return "\n".join(["cancelled; every process of the stage has ended. Its last lines:", *lines[-LAST_LINES:]])


def blockers(lines: Sequence[str]) -> str:
    """Who holds the paths that DVC's message in `lines` is about: command, process, and Dagster run where it is one's.

    >>> blockers(["'data/raw' is busy, it is being blocked by:", "  (PID 4000000000): dvc repro clean"])
    '`dvc repro clean` (process 4000000000)'
    """
    import psutil

    found = []
    for process, command in dict.fromkeys(re.findall(r"\(PID (\d+)\): (.*)", "\n".join(lines))):
        who = f"`{command}` (process {process})"
        with suppress(psutil.Error, OverflowError, OSError):  # it has ended, or belongs to another user
            if run := psutil.Process(int(process)).environ().get(RUN_ID):
                who += f" of Dagster's run {run.partition('-')[0]}"
        found.append(who)
    return ", ".join(found) or "another dvc command that works on the same paths"


def run_process(
    command: list[str],
    root: Path,
    environment: dict[str, str],
    interrupted: Callable[[list[str]], None] | None = None,
) -> tuple[int, list[str]]:
    """Run a command in a session of its own; what it prints is passed on, and its last lines returned.

    When this ends, also by an interrupt, no process of that session is left; after an interrupt `interrupted` is called
    with the last lines.
    """
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        command,
        cwd=root,
        env={**environment, MARK: mark},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    tail: deque[str] = deque(maxlen=TAIL_LINES)

    def pass_on() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            text = redact(line.decode("utf-8", "replace"))  # DVC prints the addresses of its remotes as they are
            tail.append(text.rstrip())
            sys.stdout.write(text)
            sys.stdout.flush()

    reader = threading.Thread(target=pass_on, daemon=True)
    reader.start()
    guard = subprocess.Popen(
        [sys.executable, "-m", "pipelines.processes", str(process.pid), mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        code = process.wait()
    except BaseException:
        stop(process.pid, mark)
        reader.join(timeout=2)
        if interrupted:
            with suppress(RuntimeError):  # the reader may still add a line
                interrupted(list(tail))
        raise
    finally:
        with suppress(BrokenPipeError):
            guard.communicate(b"done", timeout=GRACE_SECONDS)
        reader.join(timeout=2)
    return code, list(tail)
