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
        """Whether `loss` exceeds the running mean by `sigma` deviations; a loss that does not is remembered."""
        if self.sigma and len(self.losses) >= LEAST:
            mean = sum(self.losses) / len(self.losses)
            deviation = math.sqrt(sum((x - mean) ** 2 for x in self.losses) / len(self.losses))
            if loss > mean + self.sigma * max(deviation, 1e-6):
                return True
        self.losses = [*self.losses[-(WINDOW - 1) :], loss]
        return False

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"losses": self.losses}
