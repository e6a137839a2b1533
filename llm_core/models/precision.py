"""Which precision this machine multiplies in hardware: the one place that answers, for training and for use.

A processor without the instructions emulates bfloat16 and is slower than in float32; that oneDNN is there says nothing.
"""

import torch


def multiplies_bfloat16(device: str | torch.device = "cpu") -> bool:
    """Whether `device` multiplies bfloat16 in hardware: AVX-512 BF16 or AMX on a CPU, Ampere or later on a GPU."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if kind == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False
