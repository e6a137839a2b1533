"""What ends or skips a step that went wrong: loss spikes and numbers that are none."""

import math
from dataclasses import dataclass
from typing import Any

WINDOW = 128  # steps that the running mean remembers, as in OLMo's SkipStepOptimizer
LEAST = 16  # steps before spikes are judged


@dataclass
class SpikeGuard:
    """Running mean and deviation of the loss over the last steps; says when a loss is a spike."""

    sigma: float
    losses: list[float]

    def is_spike(self, loss: float) -> bool:
        """Whether `loss` exceeds the running mean by `sigma` deviations.

        Spikes are remembered, too: after a few in a row the new level is the usual one, and training goes on. A run
        that no update may leave is lost otherwise.
        """
        usual = self.losses
        self.losses = [*usual[-(WINDOW - 1) :], loss]
        if not self.sigma or len(usual) < LEAST:
            return False
        mean = sum(usual) / len(usual)
        deviation = math.sqrt(sum((x - mean) ** 2 for x in usual) / len(usual))
        return loss > mean + self.sigma * max(deviation, 1e-6)

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"losses": self.losses}
