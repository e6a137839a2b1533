"""The machine's peak performance, and how much of it a training uses.

Utilisation is the model's own floating-point operations (not those recomputed by activation
checkpointing) over what matrix products reach here in the run's precision. The peak is
measured, not looked up: the best of several square products, once for a machine, thread count, precision and
version of torch, kept in the user's cache folder. On a busy machine wall time is unreliable, so
on CPUs the same figures are also given per core-second.
"""

import json
import os
import platform
import resource
import time
from pathlib import Path
from typing import Any

import torch

from llm_core.models.family import family_of
from llm_core.training.pretraining import partitioned

SIZE = {"cpu": 1024, "cuda": 8192}  # side of the measured product: large enough to be bound by arithmetic
SECONDS = 1.0  # duration of the measurement of the peak


def matmul_peak(precision: str, device: str) -> float:
    """Floating-point operations a second of one process's matrix products, measured once and cached."""
    name = torch.cuda.get_device_name() if device == "cuda" else _processor()
    key = f"{name}, {torch.get_num_threads()} threads, {precision}, torch {torch.__version__}"
    file = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "llm_core" / "matmul_peak.json"
    try:
        known: dict[str, float] = json.loads(file.read_text())
    except (OSError, ValueError):
        known = {}
    if key not in known:
        known[key] = measure_matmul(precision, device, SECONDS)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(known, indent=1))
        except OSError:
            pass  # a read-only home folder: the peak is measured again next time
    return known[key]


def measure_matmul(precision: str, device: str = "cpu", seconds: float = SECONDS) -> float:
    """The best of the square products done in `seconds`, in floating-point operations a second.

    On a CPU the seconds are CPU time of each thread, so that other work on the machine does not lower the figure.
    """
    side = SIZE.get(device, SIZE["cpu"])
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    left, right = torch.randn(2, side, side, device=device).to(dtype)
    best, end, count = float("inf"), time.perf_counter() + seconds, 0
    while time.perf_counter() < end or count < 3:
        began = _now(device)
        torch.mm(left, right)
        if device == "cuda":
            torch.cuda.synchronize()
        best, count = min(best, _now(device) - began), count + 1
    return 2 * side**3 / best


def _now(device: str) -> float:
    return time.perf_counter() if device == "cuda" else time.process_time() / torch.get_num_threads()


def flops_per_token(network: Any, sequence_length: int) -> float:
    """Operations of forward and backward for one token: 6 per weight that multiplies, and causal attention.

    Tables that only look up (positions, an untied token embedding) multiply nothing. Attention is 12 x layers x
    width x length in Chowdhery et al. 2022 (arXiv:2204.02311, appendix B), half of it where attention is causal.
    """
    config, weights = network.config, multiplying_weights(network)
    if not family_of(config).attends:
        return 6.0 * weights
    sizes = config.get_text_config(decoder=True)
    return 6.0 * weights + 6.0 * sizes.num_hidden_layers * sizes.hidden_size * sequence_length


def multiplying_weights(network: Any) -> int:
    """Number of weights without tables that only look up: positions, value embeddings, an untied token embedding."""
    tables = {id(module.weight) for module in network.modules() if isinstance(module, torch.nn.Embedding)} - (
        {id(network.get_output_embeddings().weight)} if network.config.tie_word_embeddings else set()
    )
    return sum(partitioned.size_of(parameter) for parameter in network.parameters() if id(parameter) not in tables)


class Clock:
    """Steps, seconds and CPU seconds of this process inside `with`; `lap` reads and resets them."""

    def __init__(self) -> None:
        self.steps, self.seconds, self.core_seconds = 0, 0.0, 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.steps += 1
        self.seconds += time.perf_counter() - self._began[0]
        self.core_seconds += time.process_time() - self._began[1]

    def lap(self) -> tuple[int, float, float]:
        """Steps, seconds, CPU seconds since the last lap."""
        found = self.steps, max(self.seconds, 1e-9), max(self.core_seconds, 1e-9)
        self.steps, self.seconds, self.core_seconds = 0, 0.0, 0.0
        return found


def memory() -> float:
    """Maximum memory of this process so far, in bytes: the GPU's where there is one, else resident memory."""
    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
