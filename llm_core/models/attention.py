"""Causal attention for CPUs: blocks of queries, matrix products of the library, no fused kernel.

torch's fused SDPA on CPU spends 4 to 5 times as long per floating-point operation as its bf16
matrix product (docs/decisions.md), and was 43 % of a step of the laptop preset. Here each block
of queries meets only the keys at or before it (and inside the sliding window): two batched
products and a softmax, with a hand-written backward. It keeps the probabilities (B x H x T x T / 2
numbers a layer), so it is for sequences of some thousand tokens; beyond, SDPA is the choice.

Registered with transformers as attention implementation "blocked"; an exported model loads with any other.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "blocked"
BLOCK = 128  # queries a block: keeps a block's scores in the second-level cache


class _BlockedAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, window: int) -> Tensor:
        """`query` (already scaled), `key`, `value` [B*H, T, D]; `mask` [B*H or 1, T, T] bool or None."""
        length = query.shape[1]
        output = torch.empty_like(query)
        kept = []
        for begin in range(0, length, BLOCK):
            end = min(begin + BLOCK, length)
            first = max(begin - window + 1, 0) // BLOCK * BLOCK if window else 0
            scores = torch.bmm(query[:, begin:end], key[:, first:end].transpose(1, 2))
            _hide(scores, begin, end, first, window, mask)
            probability = torch.softmax(scores, -1)
            output[:, begin:end] = torch.bmm(probability, value[:, first:end])
            kept.append(probability)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.window = window
        return output

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *kept = ctx.saved_tensors
        (grad,) = grads
        length, window = query.shape[1], ctx.window
        grad_query = torch.empty_like(query)
        grad_key, grad_value = torch.zeros_like(key), torch.zeros_like(value)
        for number, probability in enumerate(kept):
            begin, end = number * BLOCK, min((number + 1) * BLOCK, length)
            first = max(begin - window + 1, 0) // BLOCK * BLOCK if window else 0
            seen = slice(first, end)
            upstream = grad[:, begin:end]
            grad_value[:, seen] += torch.bmm(probability.transpose(1, 2), upstream)
            grad_scores = torch._softmax_backward_data(
                torch.bmm(upstream, value[:, seen].transpose(1, 2)), probability, -1, probability.dtype
            )
            grad_query[:, begin:end] = torch.bmm(grad_scores, key[:, seen])
            grad_key[:, seen] += torch.bmm(grad_scores.transpose(1, 2), query[:, begin:end])
        return grad_query, grad_key, grad_value, None, None


def _hide(scores: Tensor, begin: int, end: int, first: int, window: int, mask: Tensor | None) -> None:
    """Set to -inf, in place, what a block of queries must not attend to: scores [B*H, queries, keys]."""
    if mask is not None:
        scores.masked_fill_(~mask[:, begin:end, first:end], float("-inf"))
        return
    rows = torch.arange(begin, end, device=scores.device)[:, None]
    if window:
        columns = torch.arange(first, end, device=scores.device)[None]
        scores.masked_fill_(((columns > rows) | (rows - columns >= window))[None], float("-inf"))
    else:  # only the last square has keys ahead of queries
        scores[:, :, begin - first :].masked_fill_((rows.t() > rows)[None], float("-inf"))


def blocked_attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, scaling: float | None = None,
    dropout: float = 0.0, sliding_window: int | None = None, **kwargs: Any,
) -> tuple[Tensor, None]:  # fmt: skip
    """transformers' attention interface: q [B, H, T, D], k and v [B, Hkv, T, D]; returns [B, T, H, D].

    Training only. Anything else (a cache, dropout, bidirectional) goes to SDPA.
    """
    size, heads, length, width = query.shape
    causal = getattr(module, "is_causal", True) if kwargs.get("is_causal") is None else kwargs["is_causal"]
    if not module.training or dropout or not causal or key.shape[2] != length or length <= 1:
        sdpa = AttentionInterface()["sdpa"]
        return sdpa(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs)  # type: ignore[no-any-return]
    if key.shape[1] != heads:
        key = key.repeat_interleave(heads // key.shape[1], 1)
        value = value.repeat_interleave(heads // value.shape[1], 1)
    mask = None
    if attention_mask is not None:
        mask = attention_mask.expand(size, heads, length, length).reshape(size * heads, length, length)
    scale = width**-0.5 if scaling is None else scaling
    flat = [(part.to(value.dtype)).reshape(size * heads, length, width) for part in (query * scale, key, value)]
    output = _BlockedAttention.apply(*flat, mask, sliding_window or 0)
    return output.view(size, heads, length, width).transpose(1, 2), None


AttentionInterface.register(NAME, blocked_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
