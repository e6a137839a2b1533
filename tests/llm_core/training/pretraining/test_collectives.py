"""Ranks exchange tensors on the network's device: NCCL, the group of GPUs, takes none of the CPU."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode

from llm_core.training.finetuning.sentence_vectors import _Gathered
from llm_core.training.pretraining.engine import all_reduce, gathered

ROOT = Path(__file__).parents[4] / "llm_core"


class LikeNCCL(TorchDispatchMode):
    """Refuses what NCCL refuses: a collective call with a tensor of the CPU."""

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        if function.namespace == "c10d":
            flat = torch.utils._pytree.tree_leaves((arguments, keywords))
            tensors = [one for one in flat if isinstance(one, torch.Tensor)]
            if any(one.device.type == "cpu" for one in tensors):
                raise RuntimeError("No backend type associated with device type cpu")
            self.calls = getattr(self, "calls", 0) + bool(tensors)
        return function(*arguments, **(keywords or {}))


@pytest.fixture
def group() -> Iterator[LikeNCCL]:
    """A group of two ranks whose collective calls are checked, and fake tensors, which can be on a second device."""
    torch.distributed.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    try:
        with FakeTensorMode(), LikeNCCL() as checked:
            yield checked
    finally:
        torch.distributed.destroy_process_group()


def test_sums_are_exchanged_on_the_networks_device(group: LikeNCCL) -> None:
    values = torch.zeros(3, dtype=torch.float64, device="cpu")
    with pytest.raises(RuntimeError, match="device type cpu"):
        torch.distributed.all_reduce(values)
    assert all_reduce(values, torch.device("lazy", 0)) is values and values.device.type == "cpu"
    assert group.calls == 1


def test_texts_are_exchanged_on_the_networks_device(group: LikeNCCL) -> None:
    with pytest.raises(DataDependentOutputException):  # they are read back, and a fake tensor has no values
        gathered("host", torch.device("lazy", 0))
    assert group.calls == 1
    with pytest.raises(RuntimeError, match="device type cpu"):
        gathered("host", torch.device("cpu"))


def test_sentence_vectors_are_gathered_on_the_networks_device(group: LikeNCCL) -> None:
    assert _Gathered.apply(torch.zeros(2, 4, device="lazy:0")).shape == (4, 4)
    assert group.calls == 1


def test_collective_calls_are_in_these_functions_alone() -> None:
    names = {"all_reduce", "all_gather", "all_gather_object", "broadcast", "broadcast_object_list", "reduce", "gather",
             "gather_object", "scatter", "reduce_scatter", "all_to_all"}  # fmt: skip
    found = set()
    for file in sorted((ROOT / "training").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            owner, _, name = called.rpartition(".")
            if owner in ("dist", "torch.distributed", "deepspeed.comm") and name in names:
                found.add((file.name, called))
    assert found == {
        ("engine.py", "dist.all_gather"),
        ("engine.py", "dist.all_reduce"),
        ("sentence_vectors.py", "torch.distributed.all_gather"),
        ("sentence_vectors.py", "torch.distributed.all_reduce"),
    }
