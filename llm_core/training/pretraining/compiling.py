"""Whether a run's blocks are compiled with torch.compile, and how (`pretraining.compile`).

Compiled blocks round sums otherwise, so that a run is compiled from its first step or not at all: `auto` decides before
the first step, for all processes, and the checkpoints keep the choice, which a resumed run follows. It does not look at
what the compiler's cache holds, since the same params would then give other weights the second time.

Each block is compiled in place: one compilation is used for all blocks of a kind, and the names of weights do not
change. Held-out text and samples run uncompiled (`measure.evaluating`). The compiler's results are kept in
`.torch_extensions/inductor` of the project, for the next run (decision 0290 has the measurements).
"""

import os
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch

from llm_core.training.deepspeed_ops import extensions_folder
from llm_core.training.pretraining.engine import Precision, all_reduce
from llm_core.training.pretraining.reporting import Reports

SECONDS = 40.0  # CPU seconds in which each process compiles one kind of block for one shape of rows
GAIN = 0.08  # share of a step's time that compiled blocks save
PASSES = 3.2e-12  # seconds beside each operation of a matrix product, for all that is none (decision 0314)


class Choice(NamedTuple):
    """Whether the blocks of a run are compiled, and why."""

    compiled: bool
    why: str

    def as_begun(self, compiled: bool | None) -> "Choice":
        """The choice of a run that goes on from a checkpoint that was written `compiled`; None where it is unknown."""
        if compiled is None or compiled == self.compiled:
            return self
        return Choice(compiled, f"blocks are {'' if compiled else 'not '}compiled, because the run began so")


def choose(
    asked: bool | Literal["auto"], reports: Reports, network: Any, device: torch.device, precision: Precision
) -> Choice:
    """What `pretraining.compile` comes to, the same on every process, which all call it."""
    if asked != "auto":
        return Choice(asked, f"blocks are {'' if asked else 'not '}compiled (pretraining.compile)")
    settings, plan = reports.settings, reports.plan
    if settings.zero_stage == 3 or settings.sequence_parallel > 1:
        return Choice(False, "blocks are not compiled: processes exchange parts inside them")
    shapes = len({(phase.micro_batch, phase.sequence_length) for phase in plan.phases})
    graphs = kinds(network) * shapes
    if not graphs:
        return Choice(False, "blocks are not compiled: this family has none")
    if device.type == "cuda":
        return Choice(True, f"blocks are compiled: {graphs} graph(s), on a GPU")
    if precision != "bf16":
        return Choice(False, f"blocks are not compiled: what that saves in {precision} on a CPU is not measured")
    seconds = reports.flops(plan.steps) / reports.world.size * (1 / reports.peak + PASSES)
    return weigh(graphs, _first_process(seconds, reports, device), plan.steps)


def weigh(graphs: int, seconds: float, steps: int) -> Choice:
    """Whether to compile `graphs` for a run of `steps` that takes about so many `seconds` of each process's CPU."""
    cost, saved = graphs * SECONDS, seconds * GAIN
    compiled = saved > cost
    least = round(steps * cost / saved)
    return Choice(
        compiled,
        f"blocks are {'' if compiled else 'not '}compiled: it takes about {cost:.0f} CPU s ({graphs} graph(s)) and "
        f"saves about {saved:.0f} of {seconds:,.0f}; it pays from {least:,} steps on",
    )


def kinds(network: Any) -> int:
    """Number of blocks that need a graph of their own: the repeated blocks of the network that differ from each other
    by class or by a setting of a module inside, such as a window."""
    return len({_kind(block) for block in blocks(network)})


def blocks(network: Any) -> Iterator[Any]:
    """The repeated blocks of a network: what its lists of modules hold, outermost first."""
    for module in network.modules():
        if isinstance(module, torch.nn.ModuleList):
            yield from module


def compile_blocks(network: Any, tolerant: bool) -> None:
    """Compile each block at its first use; where that fails a `tolerant` run goes on with the block as it is."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(extensions_folder() / "inductor"))
    torch._dynamo.config.suppress_errors = tolerant  # type: ignore[attr-defined]
    for block in blocks(network):
        block.compile(dynamic=False)


def _kind(block: Any) -> tuple[Any, ...]:
    plain = (bool, int, float, str)
    return type(block).__name__, *(
        f"{name}.{key}={value}"
        for name, module in block.named_modules()
        for key, value in sorted(vars(module).items())
        if isinstance(value, plain) and key not in ("layer_idx", "training")
    )


def _first_process(value: float, reports: Reports, device: torch.device) -> float:
    """The first process's `value`, on every process: each measures its peak by itself."""
    if reports.world.size == 1:
        return value
    mine = torch.tensor(value if reports.world.main else 0.0, dtype=torch.float64, device="cpu")
    return float(all_reduce(mine, device))
