"""DeepSpeed's C++ ops, built once inside the project: `python -m llm_core.training.deepspeed_ops [--offload]`.

DeepSpeed compiles them at first use, for minutes, into a folder shared by all projects of the
user, and a build that was killed leaves a lock file on which every later run waits. Here they are built
in `TORCH_EXTENSIONS_DIR` (`.torch_extensions` of the project where it is unset), and since
every build holds our own file lock, which ends with its process, any lock file of DeepSpeed found there is stale.
"""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path


def extensions_folder() -> Path:
    """Folder of the compiled ops; sets TORCH_EXTENSIONS_DIR for DeepSpeed and child processes."""
    project = Path(__file__).resolve().parents[2]
    home = project if (project / "pyproject.toml").is_file() else Path.home() / ".cache" / "llm_core"
    if " " in str(home):  # a linker's flags cannot name a path with a blank; the Makefile's environment has one without
        home = Path(sys.prefix)
    return Path(os.environ.setdefault("TORCH_EXTENSIONS_DIR", str(home / ".torch_extensions")))


def name_accelerator() -> None:
    """Say to DeepSpeed, before its first import, what it runs on; on a CPU it warns that it found nothing else."""
    import torch

    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")


def ensure_ops(offload: bool = False, building: bool = False) -> None:
    """Load the ops a CPU run needs, building what is missing; with `offload` the optimizer's op too."""
    name_accelerator()
    with _locked(extensions_folder()):
        from deepspeed.ops.op_builder import CPUAdamBuilder
        from deepspeed.ops.op_builder.cpu.comm import ShareMemCommBuilder

        with redirect_stdout(sys.stderr if building else StringIO()):  # DeepSpeed prints messages at each load
            for builder in (ShareMemCommBuilder(), *([CPUAdamBuilder()] if offload else [])):
                if builder.is_compatible(verbose=False):
                    builder.load(verbose=False)


def unname_buffer() -> None:
    """Remove this rank's reduction buffer (69 MB) from /dev/shm, where DeepSpeed would leave it after every run.

    Call once the process group exists: all ranks have it mapped then and continue to use it without its name.
    """
    import torch.distributed as dist

    if not dist.is_initialized():
        return
    if dist.get_world_size() > 1:
        dist.barrier()
    address, port = os.environ.get("MASTER_ADDR", ""), os.environ.get("MASTER_PORT", "")
    name = f"deepspeed_allreduce_buffer_{os.getuid()}_{address}_{port}_{dist.get_rank()}"
    (Path("/dev/shm") / name).unlink(missing_ok=True)


def leave_group() -> None:
    """Leave the process group, if this process is in one; its threads may abort a process that ends inside it."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
    os.environ.pop("RANK", None)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".building", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        for stale in folder.rglob("lock"):
            stale.unlink(missing_ok=True)
        yield


if __name__ == "__main__":
    print(f"building DeepSpeed's C++ ops in {extensions_folder()} (some minutes, once)", file=sys.stderr)
    ensure_ops(offload="--offload" in sys.argv, building=True)
