"""Runs of `llm-core` in forked children of one process that has imported the heavy packages once.

    python -m tests.llm_core.cli.forking        reads one case a line as JSON, answers one outcome a line

A case is `{"arguments": [...], "folder": ..., "seconds": ...}`; an outcome holds the exit `code` (negative: a signal;
None: it took more processor time than its seconds, to which other work on the machine does not count), `stdout` and
`stderr`. A file name that is not UTF-8 travels in JSON as a lone surrogate, as Python's own file functions write it.
"""

import gc
import importlib
import json
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PACKAGES = (
    "pyarrow.parquet", "pandas", "torch", "transformers", "mlflow", "datasets", "duckdb", "tantivy", "bm25s", "peft",
    "gensim.models", "sklearn.linear_model", "sklearn.feature_extraction.text", "scipy.stats", "matplotlib.pyplot",
    "lm_eval.evaluator", "lm_eval.tasks", "llama_index.core.agent.workflow",
)  # fmt: skip
"""what verbs import when they run, so that each run in a child need not"""
WALL = 10  # times its seconds, after which a case that waits for something is ended


class Server:
    """The process that forks; a context manager, within which `run` runs one case after the other."""

    def __init__(self) -> None:
        root = Path(__file__).parents[3]
        path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
        quiet = {"OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.llm_core.cli.forking"],
            cwd=root, env={**os.environ, **quiet, "PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate()

    def run(self, case: dict[str, Any]) -> dict[str, Any]:
        """The outcome of a case."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(case) + "\n")
        self.process.stdin.flush()
        outcome: dict[str, Any] = json.loads(self.process.stdout.readline())
        return outcome


def _serve() -> None:
    import llm_core
    from llm_core.cli import VERBS

    for package in PACKAGES:
        importlib.import_module(package)
    for module, _ in VERBS.values():
        importlib.import_module(f"llm_core.cli.{module}")
    for room in pkgutil.walk_packages(llm_core.__path__, "llm_core."):  # which verbs import when they run
        if not room.name.endswith("__main__"):
            importlib.import_module(room.name)
    gc.collect()
    gc.freeze()  # else each child looks for garbage among the packages, and copies their pages by that
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), flush=True)
    gc.unfreeze()  # duckdb reports as leaks what an exit does not collect


def _run(case: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        out, err = Path(place) / "out", Path(place) / "err"
        child = os.fork()
        if child == 0:
            _child(case, out, err)
        code = _wait(child, WALL * case.get("seconds", 60))
        return {"code": code, "stdout": _text(out), "stderr": _text(err)}


def _child(case: dict[str, Any], out: Path, err: Path) -> None:
    """Never returns: what the command line prints goes to the files, its exit code to the parent."""
    code = 70
    try:
        os.setsid()
        seconds = int(case.get("seconds", 60))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        for number, target in ((0, "/dev/null"), (1, out), (2, err)):
            os.dup2(os.open(target, os.O_RDWR | os.O_CREAT), number)
        os.chdir(case["folder"])
        code = _code(case["arguments"])
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _code(arguments: list[str]) -> int:
    import traceback

    from llm_core.cli import main

    try:
        main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 70
    return 0


def _wait(child: int, seconds: float) -> int | None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return None if code in (-signal.SIGXCPU, -signal.SIGKILL) else code
        time.sleep(0.01)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _text(file: Path) -> str:
    return file.read_bytes().decode(errors="backslashreplace")[-4000:] if file.exists() else ""


if __name__ == "__main__":
    _serve()
