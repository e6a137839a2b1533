"""A second device that computes, in PyTorch's build for CPUs, and a process group that refuses the CPU's tensors.

`lazy` is the device of PyTorch's lazy tensors. Its TorchScript backend runs on the CPU, yet it is a device of its own:
networks are moved to it, trained and read on it, and an operation that mixes its tensors with the CPU's raises, as on
a GPU. The process group exchanges through gloo and refuses what NCCL refuses. So a mistake that would show on a GPU
alone shows here: `python -m tests.llm_core.second_device ARGUMENTS` runs `llm-core ARGUMENTS` on this device.
"""

import os
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch._lazy.ts_backend
import torch.distributed as dist
from torch.overrides import TorchFunctionMode

DEVICE = torch.device("lazy", 0)
GROUP = "like_nccl"


class LikeNCCL(dist.ProcessGroup):
    """Exchanges tensors of the second device through gloo, and refuses tensors of any other as NCCL does."""

    def __init__(self, gloo: Any) -> None:
        super().__init__(gloo.rank(), gloo.size())
        self.gloo = gloo

    def _exchange(self, call: Callable[..., Any], written: list[Any], read: list[Any], *options: Any) -> Any:
        """`call` on copies on the CPU of the tensors `written` and `read`, nested lists; `written` get the result."""
        flat = torch.utils._pytree.tree_leaves((written, read))
        if wrong := {one.device.type for one in flat} - {DEVICE.type}:
            raise RuntimeError(f"No backend type associated with device type {wrong.pop()}")
        there = torch.utils._pytree.tree_map(lambda one: one.detach().cpu().contiguous(), (written, read))
        call(*(part for part in there if part), *options).wait()
        for mine, found in zip(*map(torch.utils._pytree.tree_leaves, (written, there[0])), strict=True):
            mine.detach().copy_(found)
        return _Done(written)

    def allreduce(self, tensors: Any, opts: Any = None) -> Any:
        return self._exchange(self.gloo.allreduce, tensors, [], opts or dist.AllreduceOptions())

    def broadcast(self, tensors: Any, opts: Any = None) -> Any:
        return self._exchange(self.gloo.broadcast, tensors, [], opts or dist.BroadcastOptions())

    def reduce(self, tensors: Any, opts: Any = None) -> Any:
        return self._exchange(self.gloo.reduce, tensors, [], opts or dist.ReduceOptions())

    def allgather(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        return self._exchange(self.gloo.allgather, outputs, inputs, opts or dist.AllgatherOptions())

    def all_gather_single(self, output: Any, value: Any, opts: Any = None) -> Any:
        parts = list(output.view(-1).chunk(self.size()))
        return self.allgather([parts], [value.view(-1)])

    _allgather_base = all_gather_single

    def reduce_scatter(self, outputs: Any, inputs: Any, opts: Any = None) -> Any:
        for one in inputs[0]:
            self.allreduce([one])
        outputs[0].copy_(inputs[0][self.rank()])
        return _Done(outputs)

    def reduce_scatter_single(self, output: Any, value: Any, opts: Any = None) -> Any:
        whole = value.clone()
        self.allreduce([whole])
        output.copy_(whole.view(self.size(), *output.shape)[self.rank()])
        return _Done([output])

    _reduce_scatter_base = reduce_scatter_single

    def barrier(self, opts: Any = None) -> Any:
        return self.gloo.barrier(dist.BarrierOptions())

    def getBackendName(self) -> str:  # noqa: N802
        return GROUP


class _Done(dist._Work):
    def __init__(self, result: Any) -> None:
        super().__init__()
        self.found = result

    def wait(self, timeout: Any = None) -> bool:
        return True

    def result(self) -> Any:
        return self.found

    def is_completed(self) -> bool:
        return True

    def get_future(self) -> Any:
        future: Any = torch.futures.Future()
        future.set_result(self.found)
        return future


@cache
def start() -> None:
    """Make the device and the process group ready in this process."""
    torch._lazy.ts_backend.init()
    if GROUP.upper() not in dir(dist.Backend):
        dist.Backend.register_backend(
            GROUP,
            lambda store, rank, size, timeout: LikeNCCL(dist.ProcessGroupGloo(store, rank, size, timeout)),
            devices=[DEVICE.type],
        )


class Parts(TorchFunctionMode):
    """Divides tensors of the device with `narrow`: `split`, `chunk` and `unbind` of lazy tensors forget the device."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        keywords = keywords or {}
        name = getattr(function, "__name__", "")
        if name not in ("split", "chunk", "unbind") or arguments[0].device.type != DEVICE.type:
            return function(*arguments, **keywords)
        return self._parts(name, *arguments, **keywords)

    @staticmethod
    def _parts(name: str, value: Any, size: Any = 0, dim: int = 0) -> Any:
        if name == "unbind":
            return tuple(value.select(size, at) for at in range(value.shape[size]))
        length = value.shape[dim]
        if name == "chunk":
            size = -(-length // size)
        sizes = size if not isinstance(size, int) else [min(size, length - at) for at in range(0, length, size)]
        starts = [sum(sizes[:at]) for at in range(len(sizes))]
        return tuple(value.narrow(dim, start, part) for start, part in zip(starts, sizes, strict=True))


def moved(network: Any) -> Any:
    """`network` on the device: `Module.to` would make two weights of one that is tied."""
    made: dict[int, Any] = {}
    for module in network.modules():
        for held in (module._parameters, module._buffers):
            for name, value in held.items():
                if value is not None and value.device.type != DEVICE.type:
                    there = value.detach().to(DEVICE)
                    there = torch.nn.Parameter(there, value.requires_grad) if held is module._parameters else there
                    held[name] = made.setdefault(id(value), (value, there))[1]  # `value` is kept, and with it its id
    return network


def deepspeed_on_it() -> None:
    """DeepSpeed computes on the device, too."""
    from deepspeed.accelerator import set_accelerator
    from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator

    class Accelerator(CPU_Accelerator):  # type: ignore[misc]
        def device_name(self, device_index: Any = None) -> str:
            return DEVICE.type

        def current_device_name(self) -> str:
            return str(DEVICE)

        def device(self, device_index: Any = None) -> Any:
            return DEVICE

        def communication_backend_name(self) -> str:
            return GROUP

    set_accelerator(Accelerator())


def networks_on_it() -> None:
    """Networks are made on the device: `Module.to` would give it other parameters than those of its optimizer, which
    has no fused kernel there."""
    from llm_core.models import networks
    from llm_core.training.pretraining.optimizers import SkippableAdamW

    made, init = networks.build_network, SkippableAdamW.__init__
    networks.build_network = lambda *arguments: moved(made(*arguments))
    SkippableAdamW.__init__ = lambda self, *values, fused, **more: init(self, *values, **more)  # type: ignore[method-assign]


if __name__ == "__main__":
    os.environ["DS_ACCELERATOR"] = "cpu"
    start()
    deepspeed_on_it()
    networks_on_it()
    from llm_core import cli

    with Parts():
        cli.main(sys.argv[1:])
