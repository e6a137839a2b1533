"""Programs that start warm: forked from a server that has imported their packages once for all tests.

The imports of a verb that trains take five seconds of processor time, and tests of whole graphs start some two hundred
verbs. On the PATH that `path()` returns, `llm-core` and `dvc` are small clients of such servers (server.py, client.py);
the Python that `python()` returns starts `-m llm_core.cli` and `-m dvc` in the same way. Each program is still a
process of its own, with its own environment, folder and files, and runs the code that its PYTHONPATH names. These tests
do not show that a program starts without a server: tests/test_graph.py runs the whole graph without. Where there is a
GPU, which a forked process could not use, all programs start cold.
"""

import os
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from shlex import quote

HERE = Path(__file__).parent
HUB = HERE / "hub"  # on the PYTHONPATH of a program that is given another hub than the server that starts it
LIGHT = (
    "numpy", "pyarrow.parquet", "pyarrow.compute", "pyarrow.dataset", "numba", "typer", "pydantic", "yaml", "fsspec",
    "tokenizers", "requests", "xxhash", "ruamel.yaml",
)  # fmt: skip
HEAVY = (
    *LIGHT, "pandas", "torch", "transformers", "deepspeed", "mlflow", "datasets", "peft", "trl", "sklearn.linear_model",
    "sklearn.feature_extraction.text", "scipy.stats", "matplotlib.pyplot", "lm_eval.evaluator", "lm_eval.tasks",
    "mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.system_metrics.system_metrics_monitor", "transformers.models.llama.modeling_llama", "transformers.trainer",
    "mlflow.tracing.provider", "opentelemetry.sdk.trace", "sqlalchemy.dialects.sqlite",
    "matplotlib.backends.backend_agg",
)  # fmt: skip
DVC = ("dvc.cli", "dvc.repo", "dvc.commands.repro", "dvc.stage", "dvc_data.index", "dvc.scm")
DATA = ("inputs", "fetch", "clean", "dedup", "decontaminate", "split", "train-tokenizer", "tokenize", "takedown")
"""Verbs that need LIGHT alone."""
SHARED = "LLM_CORE_TEST_PROGRAMS"  # names the folder of programs that the tests' first process has made
GPUS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))


def path() -> str:
    """PATH for programs that start `llm-core` or `dvc`."""
    warm = [] if _has_gpu() else [f"{_programs()}/bin"]
    return os.pathsep.join([*warm, str(Path(sys.executable).parent), os.environ["PATH"]])


def python() -> str:
    """Python, for commands that begin with it."""
    return sys.executable if _has_gpu() else f"{_programs()}/python/python"


def script() -> list[str]:
    """Python, for a program on standard input."""
    return [python(), "-m", "tests.warm.script"]


def _has_gpu() -> bool:
    return any(device.exists() for device in GPUS)


def share(imported: bool = False) -> None:
    """Let the processes that this one starts from now on (pytest-xdist's workers) use its servers.

    With `imported` the servers import their packages at once, and this returns when they have: processes that import
    the same packages at the same time would each compile them, where no earlier session has.
    """
    if _has_gpu():
        return
    os.environ[SHARED] = str(_programs())
    waiting = []
    for address in _addresses if imported else ():
        waiting.append(socket.socket(socket.AF_UNIX))
        waiting[-1].connect(address)
        waiting[-1].shutdown(socket.SHUT_WR)  # asks for nothing, which a server answers when it can answer at all
    for server in waiting:
        with suppress(OSError):  # one that failed to import says so to its first client
            server.recv(1)
        server.close()


@cache
def _programs() -> Path:
    """A folder of small programs. Each kind of server starts when a program needs it first."""
    if SHARED in os.environ:
        return Path(os.environ[SHARED])
    light, heavy, dvc = (_address(packages) for packages in (LIGHT, HEAVY, DVC))
    folder = Path(heavy).parent  # which its server removes
    python = folder / "python" / "python"
    client = f"exec {quote(sys.executable)} -IS {quote(str(HERE / 'client.py'))}"
    verb = f"case $1 in {'|'.join(DATA)}) server={light};; *) server={heavy};; esac\n"
    scripts = {
        folder / "bin" / "llm-core": f'{verb}{client} $server {python} no llm_core.cli "$@"\n',
        folder / "bin" / "dvc": f'{client} {dvc} {quote(sys.executable)} no dvc "$@"\n',
        python: f"""
[ "$1" = -u ] && shift  # as launchers start their workers
case "$1 $2" in
    "-m llm_core.cli") shift 2; {verb}{client} $server {python} yes llm_core.cli "$@";;
    "-m llm_core."* | "-m tests."* | "-m torch.distributed.run" | "-m deepspeed."* | "-m lm_eval")
        shift; {client} {heavy} {python} yes "$@";;
    "-m dvc")
        case $3 in exp|queue) exec {quote(sys.executable)} "$@";; esac  # it starts itself again
        shift 2; {client} {dvc} {quote(sys.executable)} yes dvc "$@";;
    *) exec {quote(sys.executable)} "$@";;
esac
""",
    }
    for file, text in scripts.items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\n{text}")
        file.chmod(0o755)
    return folder


def _address(packages: tuple[str, ...]) -> str:
    """Start a server that ends with this process, and imports the packages when its first client comes."""
    folder = tempfile.mkdtemp(prefix="warm-")
    address = f"{folder}/socket"
    _addresses.append(address)
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MLFLOW_TRACKING_URI")}
    environment = kept | {
        "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_LOGGING_LEVEL": "WARNING",
        "DS_ACCELERATOR": "cpu", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
    }  # fmt: skip
    with socket.socket(socket.AF_UNIX) as listener, open(f"{folder}/log", "w") as log:
        listener.bind(address)
        listener.listen(64)
        command = [sys.executable, "-P", str(HERE / "server.py"), str(listener.fileno()), folder, *packages]
        _servers.append(
            subprocess.Popen(
                command, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log,
                pass_fds=[listener.fileno()], start_new_session=True,
            )
        )  # fmt: skip
    return address


_addresses: list[str] = []
_servers: list[subprocess.Popen[bytes]] = []  # whose standard input stays open until this process ends
