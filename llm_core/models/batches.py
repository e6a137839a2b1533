"""Rows of token ids of different lengths as one padded tensor, made on the device on which it is read."""

from collections.abc import Sequence
from typing import Literal

import torch


def pad_rows(
    rows: Sequence[Sequence[int]], fill: int, device: torch.device | str, side: Literal["left", "right"] = "right"
) -> torch.Tensor:
    """int64 [rows, longest]: each row, padded with `fill` on the `side` given."""
    width = max(map(len, rows))
    gaps = [[fill] * (width - len(row)) for row in rows]
    pairs = zip(rows, gaps, strict=True)
    return torch.tensor([[*gap, *row] if side == "left" else [*row, *gap] for row, gap in pairs], device=device)


def pad_masks(
    rows: Sequence[Sequence[int]], device: torch.device | str, side: Literal["left", "right"] = "right"
) -> torch.Tensor:
    """int64 [rows, longest]: 1 where `pad_rows` has a token, 0 where it has padding."""
    return pad_rows([[1] * len(row) for row in rows], 0, device, side)


def shifted_right(labels: torch.Tensor, start: int, pad: int) -> torch.Tensor:
    """What a decoder reads to write `labels` [rows, tokens], negative in unused places: the token before each."""
    before = torch.cat([torch.full_like(labels[:, :1], start), labels[:, :-1]], 1)
    return before.masked_fill(before < 0, pad)
