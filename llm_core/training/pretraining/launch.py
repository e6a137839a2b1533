"""Starts the training processes, and ensures that none outlives the verb.

The verb checks its inputs, then starts itself again under DeepSpeed's launcher (or torchrun),
one process per rank. A single process is started without a launcher, whose own start takes 4 s.
If the verb is killed, even by `kill -9`, the kernel tells the launcher (parent-death signal) and
every worker (a pidfd on the verb); a dead worker ends the others.
Where another launcher has started it (RANK and WORLD_SIZE are set: torchrun, Slurm), the verb is
a worker at once.
"""

import base64
import ctypes
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from llm_core.errors import UserError
from llm_core.params.launch import TrainingLaunch
from llm_core.params.pretraining import Pretraining
from llm_core.runtime.guard import end_with
from llm_core.training.processes import free_port, single_process

GUARD = "LLM_CORE_GUARD"  # "host:pid" of the verb that started the workers
PR_SET_PDEATHSIG = 1
GPUS = any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/kfd"))
"""Whether this host has a driver of GPUs."""
ENVIRONMENT = {
    # A thread that waits must not spin: with other work on the machine, spinning made a step 100 times slower.
    "OMP_WAIT_POLICY": "passive",
    # Large pages, and memory kept between steps instead of returned and zeroed again: 10 % more tokens per core-second.
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=33554432:"
    "glibc.malloc.trim_threshold=17179869184",
}
"""Environment variables for the workers, except those that the user has set."""
CARRIED = (
    "DS_ACCELERATOR",
    "GLOO_",
    "LLM_CORE_",
    "NCCL_",
    "NUMBA_",
    "OMP_",
    "PATH",
    "TOKENIZERS_",
    "TORCH_",
    *ENVIRONMENT,
)
"""Beginnings of the names of variables that the workers on other hosts get, too.

DeepSpeed's runner hands over only those that begin with MLFLOW, PYTHON, MV2 or UCX (and the accelerator's own), and
what its file of variables has. PATH: another ninja than the environment's builds DeepSpeed's ops again, for minutes.
"""


def is_worker() -> bool:
    """Whether a launcher has started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def devices() -> int:
    """Number of GPUs of this host, or where it has none, of the cores that this process may use."""
    if GPUS:
        import torch

        if count := torch.cuda.device_count():
            return int(count)
    return len(os.sched_getaffinity(0))


def sharing(settings: Pretraining, most: int) -> int:
    """The largest number of processes, at most `most`, that can share the sequences of every step equally.

    On a CPU a process of one thread is faster than a second thread of one process, since small matrix products and
    what is between them profit little from threads (decision 0258). Groups that share each sequence
    (`sequence_parallel`) are counted whole. Where a batch follows from the number of processes (a phase without
    `batch_tokens`, and none for all), it is one group.
    """
    group = settings.sequence_parallel
    phases = [
        (phase.batch_tokens or settings.batch_tokens, phase.sequence_length or settings.sequence_length)
        for phase in settings.phases
    ] or [(settings.batch_tokens, settings.sequence_length)]
    if any(batch is None for batch, _ in phases):
        return group
    together = math.gcd(*(batch // length for batch, length in phases if batch))
    return group * max((count for count in range(1, most // group + 1) if together % count == 0), default=1)


def launch(params: TrainingLaunch, settings: Pretraining, arguments: list[str]) -> int:
    """Run `llm-core ARGUMENTS` in every training process; the exit code of the launcher."""
    processes = params.processes or (1 if params.hostfile else sharing(settings, devices()))
    params = params.model_copy(update={"processes": processes})
    environment = ENVIRONMENT | os.environ
    environment[GUARD] = f"{socket.gethostname()}:{os.getpid()}"
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not GPUS:
        environment.setdefault("DS_ACCELERATOR", "cpu")  # otherwise DeepSpeed warns that it found no other
    cores = len(os.sched_getaffinity(0))
    if params.threads or "OMP_NUM_THREADS" not in environment:
        environment["OMP_NUM_THREADS"] = str(params.threads or max(cores // params.processes, 1))
    alone = params.processes == 1 and not params.hostfile
    if alone:
        command = [sys.executable, "-m", "llm_core.cli", *arguments]
        environment |= single_process()
    else:
        command = _command(params, arguments)
    with tempfile.TemporaryDirectory() as place:
        if params.hostfile:
            environment["DS_ENV_FILE"] = str(_carried(environment, Path(place)))
        return _wait(command, environment, alone)


def _carried(environment: dict[str, str], place: Path) -> Path:
    """A file of the variables for other hosts in DeepSpeed's form; those of the user's own such file come last."""
    own = environment.get("DS_ENV_FILE", ".deepspeed_env")
    lines = [f"{name}={value}" for name, value in sorted(environment.items()) if name.startswith(CARRIED)]
    for file in (Path.home() / own, Path(own)):
        if file.is_file():
            lines += file.read_text(encoding="utf-8").splitlines()
    made = place / "variables"
    made.write_text("".join(f"{line}\n" for line in lines if "=" in line), encoding="utf-8")
    return made


def _wait(command: list[str], environment: dict[str, str], alone: bool) -> int:
    """Start a launcher (or, `alone`, the one training process) and wait for its end; the exit code."""
    launcher = subprocess.Popen(command, env=environment, preexec_fn=_die_with_parent)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: launcher.terminate())
    try:
        code = launcher.wait()
        if code < 0:
            ended = "the training was" if alone else "the launcher was"
            name = signal.Signals(-code).name
            print(f"pretrain: {ended} ended by {name}; the next run goes on from its last checkpoint", file=sys.stderr)
        return code
    except KeyboardInterrupt:
        launcher.terminate()
        launcher.wait()
        raise


def guard() -> None:
    """End this worker at once when the verb that started it, or its launcher, is gone."""
    host, _, pid = os.environ.get(GUARD, "").rpartition(":")
    if host != socket.gethostname():
        return
    end_with(int(pid), os.getppid())


def _command(params: TrainingLaunch, arguments: list[str]) -> list[str]:
    program = ["llm_core.cli", *arguments]
    if params.hostfile:
        if not Path(params.hostfile).is_file():
            raise UserError(f"launch.pretraining.hostfile {params.hostfile}: no such file (lines `HOST slots=N`)")
        return [sys.executable, "-m", "deepspeed.launcher.runner", "--hostfile", params.hostfile,
                "--no_local_rank", "--module", *program]  # fmt: skip
    port = free_port()
    if params.launcher == "torchrun":
        return [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(params.processes),
                "--master-addr", "127.0.0.1", "--master-port", str(port), "--module", *program]  # fmt: skip
    hosts = json.dumps({"localhost": _slots(params.processes)}).encode()
    return [sys.executable, "-m", "deepspeed.launcher.launch", "--world_info",
            base64.urlsafe_b64encode(hosts).decode(), "--master_addr", "127.0.0.1", "--master_port", str(port),
            "--log_level", "critical", "--no_local_rank", "--module", *program]  # fmt: skip


def _slots(processes: int) -> list[int]:
    """The GPUs of the processes: those of CUDA_VISIBLE_DEVICES where it names them by number, because DeepSpeed's
    launcher sets that variable to the slots that it is given."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    if len(chosen) >= processes and all(one.strip().isdigit() for one in chosen):
        return [int(one) for one in chosen[:processes]]
    return list(range(processes))


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
