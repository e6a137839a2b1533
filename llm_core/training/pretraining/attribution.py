"""Whose loss it is: the loss of a step, for each document that it trained on.

The forward pass has the loss of each token already, and the loader computes which document each token is of, so this
costs a sum over the step's tokens, at the steps that are logged and at unusual ones.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from llm_core.training.pretraining.batches import DocumentRange
from llm_core.training.pretraining.engine import World, all_reduce
from llm_core.training.pretraining.objectives import Inputs
from llm_core.training.pretraining.sequence_parallel import columns

LOSS_OF = "loss/"  # before the name of a source
SOURCES = 20  # of a step whose loss is logged, those with the most targets
NAMED = 5  # documents that the record of a spike names


class Share(NamedTuple):
    """What a step's loss owes to a range of a document."""

    range: DocumentRange
    nats: float
    """sum of the cross-entropy of its targets"""
    targets: int


def shares(
    ranges: Sequence[DocumentRange], made: Sequence[Inputs], losses: Sequence[Any], first_row: int, length: int,
    world: World, device: Any,
) -> list[Share]:  # fmt: skip
    """The share of each of a step's `ranges`, over all processes, which call it together.

    `made` and `losses` (a tensor [B, T] each) are this process's passes, whose rows are `first_row` onwards of the
    step's global batch; `length` is that of a whole sequence. [] where losses are not of the batch's own tokens (an
    encoder-decoder).
    """
    if any(tuple(found.shape) != inputs.input_ids.shape for found, inputs in zip(losses, made, strict=True)):
        return []
    sums = local_sums(ranges, made, losses, first_row, length, world.sequence, world.sequence_rank)
    together = all_reduce(torch.tensor(sums, device="cpu"), device).tolist()
    return [Share(item, of, int(count)) for item, of, count in zip(ranges, *together, strict=True)]


def local_sums(
    ranges: Sequence[DocumentRange], made: Sequence[Inputs], losses: Sequence[Any], first_row: int, length: int,
    sequence: int, sequence_rank: int,
) -> npt.NDArray[np.float64]:  # fmt: skip
    """Nats and targets of each range in this process's tokens: [2, ranges]; see `shares`."""
    rows = sum(len(inputs.input_ids) for inputs in made)
    labels = _labels(ranges, first_row, rows, length)[:, columns(length, sequence, sequence_rank)]
    nats = torch.cat([found.detach().flatten() for found in losses]).double().cpu().numpy()
    used = np.concatenate([inputs.targets.ravel() for inputs in made]) >= 0
    used &= labels.ravel() >= 0  # a family's own objective may predict in slots that no document fills
    kept = labels.ravel()[used]
    return np.stack([np.bincount(kept, values, len(ranges)) for values in (nats[used], np.ones(len(kept)))])


def by_source(found: Sequence[Share]) -> dict[str, float]:
    """`loss/SOURCE`: mean loss of each source's targets, of at most SOURCES sources."""
    nats: dict[str, float] = {}
    targets: dict[str, int] = {}
    for share in found:
        source = share.range.source
        nats[source] = nats.get(source, 0.0) + share.nats
        targets[source] = targets.get(source, 0) + share.targets
    most = sorted((name for name, count in targets.items() if count), key=lambda name: (-targets[name], name))[:SOURCES]
    return {f"{LOSS_OF}{name}": nats[name] / targets[name] for name in sorted(most)}


def raising(found: Sequence[Share], usual: float) -> list[dict[str, Any]]:
    """The documents that raise a step's loss most above `usual`: id, source and mean loss, of at most NAMED."""
    documents: dict[str, list[Share]] = {}
    for share in found:
        documents.setdefault(share.range.id, []).append(share)
    above = {name: sum(one.nats - usual * one.targets for one in of) for name, of in documents.items()}
    first = sorted((name for name in above if above[name] > 0), key=lambda name: (-above[name], name))[:NAMED]
    return [
        {
            "id": name,
            "source": documents[name][0].range.source,
            "loss": float(f"{sum(s.nats for s in documents[name]) / sum(s.targets for s in documents[name]):.6g}"),
        }
        for name in first
    ]


def _labels(ranges: Sequence[DocumentRange], first_row: int, rows: int, length: int) -> npt.NDArray[np.int64]:
    """For each slot of the rows `first_row` onwards the place of its range in `ranges`, or -1: int64 [rows, length]."""
    labels = np.full((rows, length), -1, np.int64)
    slots = np.zeros(rows, np.int64)
    for place, item in enumerate(ranges):  # those of a sequence come in the order of its slots
        row, size = item.sequence - first_row, item.stop - item.start
        if 0 <= row < rows:
            labels[row, slots[row] : slots[row] + size] = place
            slots[row] += size
    return labels
