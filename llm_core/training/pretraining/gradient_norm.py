"""The norm of a step's gradient, also where ZeRO and Muon meet.

At stages 1 to 3 DeepSpeed (0.19.8) puts Muon's orthogonalised updates in the place of the gradients before it takes the
norm, which is then nearly the same at every step: about the root of the number of rows of all matrices. So the
gradients are measured before: at stages 1 and 2 when DeepSpeed takes each process's part of them, else between
backward and step.
"""

from collections.abc import Iterable
from typing import Any

import torch

from llm_core.training.pretraining.engine import all_reduce


class GradientNorm:
    """Norm over all weights of the mean gradient over all targets of a step, before it is clipped."""

    def __init__(self, engine: Any, optimizer: Any, stage: int) -> None:
        self.engine, self.optimizer = engine, optimizer
        self.stage = stage
        self.muon = stage > 0 and any(group.get("use_muon") for group in optimizer.param_groups)
        self.measured: float | None = None
        self.whole: dict[int, torch.Tensor] = {}
        """Group -> squares of the norms of the matrices of which this process has a part."""
        self.rows = {id(parameter): row for row, parameter in enumerate(engine.module.parameters())}
        if self.muon and stage < 3:
            self._watch(engine.optimizer)

    def before_step(self) -> None:
        """Measure the gradients, between the last backward pass of a step and the optimizer; all processes call it."""
        if not self.muon:
            return
        from deepspeed.accelerator import get_accelerator

        zero = self.engine.optimizer
        if getattr(zero, "swap_optimizer", False):  # the gradients are on disk
            return
        offload = zero.offload_optimizer if self.stage == 3 else zero.cpu_offload
        if offload:
            get_accelerator().synchronize()  # the gradients may still be on their way to the CPU
            flat = zero.fp32_partitioned_groups_flat if self.stage == 3 else zero.single_partition_of_fp32_groups
            parts: Iterable[Any] = (part.grad for part in flat)
        else:
            groups = zero.averaged_gradients.items()
            parts = (part for group, found in groups if group not in self.whole for part in found)
        table = torch.zeros(len(self.rows) + 1, 2, dtype=torch.float64, device="cpu")
        table[-1, 0] = float(_squares([part for part in parts if part is not None]).sum())
        for group, found in self.whole.items():
            for parameter, square in zip(zero.params_in_partition[group], found.tolist(), strict=True):
                row = self.rows[id(parameter)]
                table[row, 0], table[row, 1] = square, 1
        table = all_reduce(table, self.engine.device)
        # A matrix that lies in the parts of several processes was measured by each of them.
        self.measured = float((table[:, 0] / table[:, 1].clamp(min=1)).sum().sqrt()) / float(zero.loss_scale)

    def after_step(self) -> float | None:
        """The norm; None where nobody has measured it, for example because Muon's gradients are offloaded to disk."""
        if self.muon:
            return self.measured
        norm = self.optimizer.gradient_norm if self.stage == 0 else self.engine.get_global_grad_norm()
        return None if norm is None else float(norm)

    def _watch(self, zero: Any) -> None:
        """Let DeepSpeed's optimizer of stage 1 and 2 measure whole matrices when it is about to orthogonalise them."""
        flat_partition = zero.get_flat_partition

        def measured(tensors: Any, *arguments: Any, param_group_idx: int, **keywords: Any) -> Any:
            if tensors and zero._is_muon_group(tensors):
                self.whole[param_group_idx] = _squares(zero.all_grad_tensors[param_group_idx])
            return flat_partition(tensors, *arguments, param_group_idx=param_group_idx, **keywords)

        zero.get_flat_partition = measured


def _squares(tensors: list[torch.Tensor]) -> torch.Tensor:
    """The square of the norm of each tensor, [N], in float64."""
    return (
        torch.stack(torch._foreach_norm(tensors, 2, torch.float32)).double().square()
        if tensors
        else torch.zeros(0, device="cpu")
    )
