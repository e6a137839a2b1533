"""Sentence vectors, the loss that trains them, and the rank of the right passage.

InfoNCE over in-batch negatives (van den Oord et al., arXiv:1807.03748), as DPR trains it (Karpukhin et al.,
arXiv:2004.04906): the cosine similarities of a query with all passages of its batch, divided by a temperature, are
the logits of which passage is its own. A passage that two queries share is no negative of either.
"""

from collections.abc import Sequence
from typing import Any

import torch

from llm_core.models.loading import device_of
from llm_core.training.finetuning.scoring import BATCH, padded

Encoded = list[dict[str, list[int]]]


def vectors(model: Any, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Unit vectors (rows, width) in float32: means over the tokens that `mask` (rows, tokens) leaves."""
    states = model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
    weights = mask.unsqueeze(-1).float()
    return torch.nn.functional.normalize((states * weights).sum(1) / weights.sum(1), dim=-1)


def info_nce(queries: torch.Tensor, passages: torch.Tensor, own: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean cross-entropy in nats of each query's own passage among those of all processes.

    The same passage elsewhere is left out. `queries` and `passages` are unit vectors (rows, width), paired row by row;
    `own` int64 (rows,) is equal where the passages are.
    """
    everyone, everyones, first = passages, own, 0
    if torch.distributed.is_initialized():
        everyone, everyones = _Gathered.apply(passages), _Gathered.apply(own)
        first = torch.distributed.get_rank() * len(own)
    places = first + torch.arange(len(own), device=own.device)
    same = own[:, None] == everyones[None, :]
    same[torch.arange(len(own), device=own.device), places] = False
    scores = (queries @ everyone.T / temperature).masked_fill(same, float("-inf"))
    return torch.nn.functional.cross_entropy(scores, places)


class _Gathered(torch.autograd.Function):
    """The rows of all processes (equally many each), in their order; gradients return to the process that owns a
    row."""

    @staticmethod
    def forward(context: Any, rows: torch.Tensor) -> torch.Tensor:
        found = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(found, rows.contiguous())
        return torch.cat(found)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        gradient = gradient.contiguous()
        torch.distributed.all_reduce(gradient)
        return gradient.chunk(torch.distributed.get_world_size())[torch.distributed.get_rank()]


@torch.no_grad()
def embed(model: Any, rows: Encoded, pad: int) -> torch.Tensor:
    """Unit vectors (rows, width) of encoded texts, in their order."""
    model.eval()
    order = sorted(range(len(rows)), key=lambda at: len(rows[at]["input_ids"]))
    found: list[torch.Tensor] = [torch.empty(0, device="cpu")] * len(rows)
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        ids, mask, _ = padded([rows[at] for at in chosen], pad, device_of(model))
        for at, vector in zip(chosen, vectors(model, ids, mask), strict=True):
            found[at] = vector
    return torch.stack(found)


def rank(scores: torch.Tensor, own: Sequence[int]) -> list[int]:
    """Rank, from 1, of column `own[row]` among each row of `scores` (rows, columns); ties count against it."""
    mine = scores[torch.arange(len(own), device=scores.device), torch.tensor(own, device=scores.device)]
    return [int(at) for at in (scores >= mine[:, None]).sum(1)]
