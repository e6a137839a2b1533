"""bfloat16 is chosen where the hardware multiplies it, and nowhere else."""

from types import SimpleNamespace

import pytest
import torch

from llm_core.errors import UserError
from llm_core.models.precision import multiplies_bfloat16
from llm_core.params.pretraining import Pretraining
from llm_core.training.pretraining.engine import deepspeed_config, resolve_precision
from llm_core.training.pretraining.machine import measure_matmul


@pytest.mark.parametrize(("avx512", "amx", "chosen"), [(True, False, "bf16"), (False, True, "bf16"), (0, 0, "fp32")])
def test_a_processor_needs_the_instructions(
    avx512: bool, amx: bool, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert resolve_precision("auto") == chosen
    assert resolve_precision("bf16") == "bf16", "what is asked for is not replaced"


@pytest.mark.parametrize(
    ("capability", "chosen"), [((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((9, 0), "bf16")]
)
def test_a_gpu_multiplies_it_from_ampere_on(
    capability: tuple[int, int], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch also says yes of older GPUs, which emulate it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda _: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(major=capability[0]))
    assert resolve_precision("auto") == chosen
    assert deepspeed_config(Pretraining(), chosen, 1)["fp16" if chosen == "fp16" else "torch_autocast"]["enabled"]


def test_other_devices_are_not_trusted() -> None:
    assert not multiplies_bfloat16("xpu")


def test_fp16_on_a_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="no fp16 on a CPU"):
        deepspeed_config(Pretraining(), "fp16", 1)


def test_the_choice_agrees_with_what_is_measured_here() -> None:
    """Products in bfloat16 are at least twice as fast with the instructions, and slower without."""
    ratio = measure_matmul("bf16", seconds=0.2) / measure_matmul("fp32", seconds=0.2)
    assert (ratio > 1.3) == multiplies_bfloat16("cpu"), ratio
