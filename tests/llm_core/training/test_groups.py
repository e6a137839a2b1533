"""A process that trained within a group of processes leaves it before it ends."""

import os
from pathlib import Path

import pytest
import torch

from llm_core.training.deepspeed_ops import leave_group


def test_a_process_leaves_its_group_once_and_may_be_in_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=store)
    leave_group()
    assert not torch.distributed.is_initialized()
    assert "RANK" not in os.environ
    leave_group()
