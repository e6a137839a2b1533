"""Detection of loss spikes, whose steps are skipped, and of unusual steps, which are recorded."""

import math
from dataclasses import dataclass, field
from statistics import median
from typing import Any

WINDOW = 128  # steps in the running mean, as in OLMo's SkipStepOptimizer
LEAST = 16  # steps before the first one can be a spike
FAR = 8.0  # deviations above the running median from which a step is recorded
LEAST_DEVIATION = 0.01  # of the median; smaller ones are no spread but rounding
LASTING = 8  # unusual steps in a row that are a new level
RECORDED = 100  # maximum number of records of a run
NORMAL = 1.4826  # standard deviation of normal values by their median absolute deviation


@dataclass
class SpikeGuard:
    """Loss and gradient norm of the last steps; decides when a loss is a spike, and which steps are recorded."""

    sigma: float
    losses: list[float]
    norms: list[float] = field(default_factory=list)
    recorded: int = 0
    """number of records so far"""
    lasting: int = 0
    """number of unusual steps in a row"""

    def is_spike(self, loss: float) -> bool:
        """Whether `loss` exceeds the running mean by `sigma` deviations.

        Spikes enter the mean too: after a few in a row the new level is the usual one, and training goes on. Otherwise,
        after a lasting rise in loss, every step would be skipped and the run could never recover.
        """
        usual = self.losses
        self.losses = [*usual[-(WINDOW - 1) :], loss]
        if not self.sigma or len(usual) < LEAST:
            return False
        mean = sum(usual) / len(usual)
        deviation = math.sqrt(sum((x - mean) ** 2 for x in usual) / len(usual))
        return loss > mean + self.sigma * max(deviation, 1e-6)

    def unusual(self, norm: float | None, skipped: bool) -> dict[str, tuple[float, float]]:
        """What of the step that `is_spike` was asked about is far above the last steps: `loss` or `gradient_norm` ->
        (value, running median). The loss of a `skipped` step is always far; a step without an update has no `norm`.
        {} when a run has RECORDED of them.

        Far is FAR median absolute deviations, scaled as those of normal values; the median hides no spike behind
        another one. After LASTING unusual steps in a row their level is the usual one (another phase's, for example),
        and the steps before them are forgotten.
        """
        loss, found = self.losses[-1], {}
        if skipped or _far(loss, self.losses[:-1]):
            found["loss"] = loss, median(self.losses[:-1])
        if norm is not None:
            if _far(norm, self.norms):
                found["gradient_norm"] = norm, median(self.norms)
            self.norms = [*self.norms[-(WINDOW - 1) :], norm]
        self.lasting = self.lasting + 1 if found else 0
        if self.lasting == LASTING:
            self.losses, self.norms, self.lasting = self.losses[-LASTING:], self.norms[-LASTING:], 0
        if not found or self.recorded >= RECORDED:
            return {}
        self.recorded += 1
        return found

    def state(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {"losses": self.losses, "norms": self.norms, "recorded": self.recorded, "lasting": self.lasting}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's state; older ones have losses alone."""
        self.losses, self.norms = state["losses"], state.get("norms", [])
        self.recorded, self.lasting = state.get("recorded", 0), state.get("lasting", 0)


def _far(value: float, usual: list[float]) -> bool:
    if len(usual) < LEAST:
        return False
    middle = median(usual)
    deviation = median(abs(one - middle) for one in usual)
    return value > middle + FAR * max(NORMAL * deviation, LEAST_DEVIATION * middle)


def no_better(figures: list[float], patience: int) -> bool:
    """Whether none of the last `patience` losses is below the best before them; False for a patience of 0."""
    return 0 < patience < len(figures) and min(figures[-patience:]) >= min(figures[:-patience])
