"""The DeepSpeed engine: params to DeepSpeed's config, and the facts of the process group.

Measured facts that the code relies on (docs/decisions.md): fp32 losses agree over ZeRO stages 0 to 3
and world sizes; bf16 through `torch_autocast` keeps fp32 weights at every stage, where
DeepSpeed's own bf16 mode picks another optimizer at stage 0.
"""

import os
from dataclasses import dataclass
from typing import Any, Literal

from llm_core.errors import UserError
from llm_core.params.pretraining import Pretraining
from llm_core.training.pretraining.deepspeed_keys import merged

Precision = Literal["fp32", "bf16", "fp16"]


_ENVIRONMENT = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}


@dataclass(frozen=True)
class World:
    """The place of this process among all."""

    rank: int
    size: int
    local_rank: int
    sequence: int = 1
    """Number of neighbouring processes that share each sequence."""

    @property
    def data_rank(self) -> int:
        """Which of the groups that read the same sequences this process belongs to."""
        return self.rank // self.sequence

    @property
    def data_size(self) -> int:
        """Number of these groups; without sequence parallelism that of the processes."""
        return self.size // self.sequence

    @property
    def sequence_rank(self) -> int:
        """Which stretch of a sequence this process holds, from 0."""
        return self.rank % self.sequence

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0


def world() -> World:
    """The process group's facts, from the launcher's environment."""
    rank, size, local = (int(os.environ.get(name, default)) for name, default in _ENVIRONMENT.items())
    return World(rank, size, local)


def resolve_precision(asked: str) -> Precision:
    """`auto` becomes bf16 where the processor multiplies it in hardware, else fp32, or fp16 on a GPU."""
    if asked != "auto":
        return asked  # type: ignore[return-value]
    import torch

    from llm_core.models.precision import multiplies_bfloat16

    device, other = ("cuda", "fp16") if torch.cuda.is_available() else ("cpu", "fp32")
    return "bf16" if multiplies_bfloat16(device) else other  # type: ignore[return-value]


def deepspeed_config(params: Pretraining, precision: Precision, accumulation: int) -> dict[str, Any]:
    """DeepSpeed's config. Raises UserError for settings that exclude each other."""
    stage = params.zero_stage
    if precision == "fp16" and not _cuda():
        raise UserError("pretraining.precision: DeepSpeed has no fp16 on a CPU; set bf16 or fp32")
    if params.offload != "none" and stage == 0:
        raise UserError("pretraining.offload: needs pretraining.zero_stage of 1 or more")
    if params.optimizer.name == "normuon" and stage:
        raise UserError(
            "pretraining.optimizer.name: normuon needs whole matrices; set pretraining.zero_stage: 0, or muon"
        )
    if params.offload == "optimizer+weights" and stage < 3:
        raise UserError("pretraining.offload: weights need pretraining.zero_stage 3")
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": False}
    if stage == 3:
        zero["stage3_param_persistence_threshold"] = 0
    if params.optimizer.name != "adamw":
        zero["reduce_scatter"] = False  # Muon needs whole gradients of a matrix
    if stage == 3 and params.sequence_parallel > 1:
        # By reduce-scatter DeepSpeed 0.19.8 takes the mean over the processes that share a sequence, not their sum.
        zero["reduce_scatter"] = False
    if params.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if params.offload == "optimizer+weights":
        zero["offload_param"] = {"device": "cpu"}
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": params.micro_batch,
        "gradient_accumulation_steps": accumulation,
        # Stage 0 clips in its optimizer; under Muon the others would clip orthogonalised updates, not gradients.
        "gradient_clipping": params.optimizer.clip if stage and params.optimizer.name == "adamw" else 0.0,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # otherwise offload refuses any optimizer but DeepSpeedCPUAdam
        "steps_per_print": 1 << 60,
    }
    if precision == "bf16":
        config["torch_autocast"] = {"enabled": True, "dtype": "bfloat16"}
    if precision == "fp16":
        config["fp16"] = {"enabled": True, "initial_scale_power": 16}
    return merged(config, params.deepspeed)


def initialize(module: Any, optimizer: Any, config: dict[str, Any], groups: Any = None) -> Any:
    """Join the process group and wrap `module` in a DeepSpeed engine; `groups` are those of sequence parallelism."""
    import deepspeed

    engine, *_ = deepspeed.initialize(model=module, optimizer=optimizer, config=config, mpu=groups)
    return engine


def join(offload: bool) -> None:
    """Build or load DeepSpeed's ops and join the process group that the launcher described."""
    from llm_core.training.deepspeed_ops import ensure_ops, name_accelerator, unname_buffer

    name_accelerator()
    import deepspeed
    from deepspeed.utils import logger

    logger.setLevel("ERROR")
    if not _cuda():
        ensure_ops(offload)
    else:  # before the first collective call, which otherwise uses the first GPU in every process of a machine
        import torch

        torch.cuda.set_device(world().local_rank)
    deepspeed.init_distributed(verbose=False)
    unname_buffer()


def learning_rates(engine: Any, share: float, momentum: float) -> None:
    """Set every group's learning rate to `share` of its peak, and Muon's momentum."""
    for group in engine.optimizer.param_groups:
        if "momentum" in group:
            group["momentum"] = momentum
        group.setdefault("peak", group["lr"])
        group["lr"] = group["peak"] * share
    if getattr(engine.optimizer, "muon_beta", None) is not None:  # at stage 3 DeepSpeed (0.19.8) reads the group once
        engine.optimizer.muon_beta = momentum


def all_reduce(values: Any, device: Any) -> Any:
    """The sum of a tensor over all ranks, in place. The ranks exchange it on `device`, the network's: NCCL takes no
    tensor of the CPU."""
    import torch.distributed as dist

    if dist.get_world_size() > 1:
        exchanged = values.to(device)
        dist.all_reduce(exchanged)
        values.copy_(exchanged.to(values.device))
    return values


def gathered(text: str, device: Any) -> list[str]:
    """The `text` of every rank, in their order; at most 256 bytes, exchanged on `device` as in `all_reduce`."""
    import torch
    import torch.distributed as dist

    if dist.get_world_size() == 1:
        return [text]
    mine = torch.tensor(list(text.encode()[:256].ljust(256)), dtype=torch.uint8, device=device)
    found = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(found, mine)
    return [bytes(one.tolist()).decode(errors="replace").rstrip() for one in found]


def barrier() -> None:
    """Wait for all ranks."""
    import torch.distributed as dist

    if dist.get_world_size() > 1:
        dist.barrier()


def _cuda() -> bool:
    import torch

    return torch.cuda.is_available()  # type: ignore[no-any-return]
