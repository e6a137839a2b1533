"""The held-out loss that a trainer logs, by which early stopping chooses: a mean over targets, as the figures are.

transformers (5.23) takes the mean over rows of the mean of their batch: a row with one target would weigh as much as
one with a hundred, the loss would depend on which rows share a batch, and a batch without a target would make it no
number.
"""

from collections.abc import Sequence
from typing import Any


def by_targets(trainer: Any, targets: Sequence[int]) -> Any:
    """The class `trainer` with a held-out loss that is the mean over all targets of the held-out rows, which have so
    many each. Its loss must be a sum over targets, divided by `num_items_in_batch`."""
    mean = max(sum(targets), 1) / max(len(targets), 1)

    class ByTargets(trainer):  # type: ignore[misc]
        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            if not model.training:  # the mean over rows of (a batch's sum / its rows / mean targets of a row)
                rows = len(inputs["labels"])
                num_items_in_batch = rows * mean * self.accelerator.num_processes  # of which each sees its own part
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    return ByTargets
