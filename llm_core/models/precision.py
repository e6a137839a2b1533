"""Which precision this machine multiplies in hardware: the one place that answers, for training and for use.

A processor without the instructions emulates bfloat16 and is slower than in float32; that oneDNN is there says nothing.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def multiplies_bfloat16(device: str | torch.device = "cpu") -> bool:
    """Whether `device` multiplies bfloat16 in hardware: AVX-512 BF16 or AMX on a CPU, Ampere or later on a GPU."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if kind == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The dtype to which autocast turns the inputs of matrix products on `device` now; None where it is off."""
    kind = device.type
    on = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    return torch.get_autocast_dtype(kind) if on else None


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Autocast switched off on `device`, which need not have it."""
    return torch.autocast(device.type, enabled=False) if torch.amp.is_autocast_available(device.type) else nullcontext()
