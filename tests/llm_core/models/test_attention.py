"""Blocked attention against torch's scaled_dot_product_attention, values and gradients."""

from types import SimpleNamespace

import pytest
import torch

from llm_core.models.attention import blocked_attention


@pytest.mark.parametrize("length", [5, 128, 300])
@pytest.mark.parametrize("case", ["causal", "documents", "window", "grouped"])
def test_equals_sdpa(length: int, case: str) -> None:
    torch.manual_seed(0)
    heads = 2 if case == "grouped" else 4
    shapes = [(2, 4, length, 8), (2, heads, length, 8), (2, heads, length, 8)]
    ours = [torch.randn(*shape, requires_grad=True) for shape in shapes]
    theirs = [value.detach().clone().requires_grad_() for value in ours]
    place = torch.arange(length)
    allowed = (place[:, None] >= place[None]).expand(2, 1, length, length)
    mask, window = None, None
    if case == "documents":
        segments = torch.stack([place // 40, place // 77])
        allowed = mask = allowed & (segments[:, None, :, None] == segments[:, None, None, :])
    if case == "window":
        window = 30
        allowed = allowed & (place[:, None] - place[None] < window)
    output, _ = blocked_attention(SimpleNamespace(training=True, is_causal=True), *ours, mask, sliding_window=window)
    expected = torch.nn.functional.scaled_dot_product_attention(*theirs, attn_mask=allowed, enable_gqa=True)
    torch.testing.assert_close(output, expected.transpose(1, 2), rtol=1e-4, atol=1e-5)
    upstream = torch.randn_like(output)
    output.backward(upstream)
    expected.transpose(1, 2).backward(upstream)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)
