"""Networks of which each process holds a part (ZeRO stage 3): built, asked for their sizes and written part by part.

DeepSpeed's `zero.Init` partitions each module when it has been constructed. transformers draws the weights that count
later, module by module, when all modules exist; here the weights of a module are gathered for it. All processes draw
the same numbers, in the order of a network that is built whole, so that the weights are the same bytes (tested).
transformers' own way with `zero.Init` leaves out the first draws and so gives other weights than one process would.
"""

import ctypes
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch

M_MMAP_THRESHOLD = -3  # of malloc.h


@contextmanager
def building(config: dict[str, Any]) -> Iterator[None]:
    """Inside, `cls(config)` of a transformers class gives a network that is partitioned over all processes.

    `config` is DeepSpeed's, of stage 3. The process group must exist.
    """
    import deepspeed
    from transformers import PreTrainedModel

    draw = PreTrainedModel._initialize_weights

    def gathered(self: Any, module: Any, is_custom_code: bool = False) -> None:
        """`module` may draw the weights of its children too (GPT-2, T5)."""
        parameters = [*module.parameters(recurse=False)]
        for child in module.children():
            parameters += child.parameters(recurse=False)
        with whole(parameters, changed=True):
            draw(self, module, is_custom_code)

    PreTrainedModel._initialize_weights = gathered
    _return_freed_from(1 << 20)
    try:
        with deepspeed.zero.Init(config_dict_or_path=config):
            yield
    finally:
        PreTrainedModel._initialize_weights = draw
        _return_freed_from(32 << 20)  # as the launcher sets it


def _return_freed_from(size: int) -> None:
    """Let glibc return tensors of so many bytes to the system when they are freed.

    A matrix is whole for a moment, and its part takes a piece of the place that it leaves, into which the next matrix
    does not fit: without this the memory grew beyond that of the whole network.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, size)


def whole(parameters: Iterable[Any], changed: bool = False) -> Any:
    """A context in which partitioned `parameters` are whole in every process; all processes enter it. With `changed`,
    what the first process has at its end is kept."""
    import deepspeed

    return deepspeed.zero.GatheredParameters(list(parameters), modifier_rank=0 if changed else None)


def shape_of(parameter: Any) -> tuple[int, ...]:
    """Shape of the whole parameter, also where this process holds a part."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def size_of(parameter: Any) -> int:
    """Number of elements of the whole parameter."""
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def vectors(network: Any) -> list[torch.nn.Parameter]:
    """Parameters of one dimension: norms and biases, which are small."""
    return [parameter for parameter in network.parameters() if len(shape_of(parameter)) == 1]
