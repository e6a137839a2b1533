"""Detection of loss spikes, whose steps are skipped."""

import math
from dataclasses import dataclass
from typing import Any

WINDOW = 128  # steps in the running mean, as in OLMo's SkipStepOptimizer
LEAST = 16  # steps before the first one can be a spike


@dataclass
class SpikeGuard:
    """Running mean and standard deviation of the loss over the last steps; decides when a loss is a spike."""

    sigma: float
    losses: list[float]

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

    def state(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {"losses": self.losses}


def no_better(figures: list[float], patience: int) -> bool:
    """Whether none of the last `patience` losses is below the best before them; False for a patience of 0."""
    return 0 < patience < len(figures) and min(figures[-patience:]) >= min(figures[:-patience])
