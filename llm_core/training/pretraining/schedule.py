"""Learning rate by step, as a share of the peak; a pure function, so that resuming needs no state.

Linear warm-up, then cosine (Loshchilov & Hutter 2017), linear, or warmup-stable-decay
(WSD: Hu et al. 2024, arXiv:2404.06395, with a linear decay as in Hägele et al. 2024).
"""

import math

from llm_core.params.pretraining import Optimizer


def learning_rate_share(step: int, steps: int, optimizer: Optimizer) -> float:
    """Share of the peak learning rate at `step` (0 … steps - 1) of a run of `steps`."""
    warmup = min(optimizer.warmup_steps, steps - 1)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    floor = optimizer.final_share
    done = (step - warmup) / max(steps - 1 - warmup, 1)
    if optimizer.schedule == "cosine":
        return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2
    if optimizer.schedule == "linear":
        return 1 - (1 - floor) * done
    decay = max(round(optimizer.decay_share * steps), 1)
    left = steps - 1 - step
    return 1.0 if left >= decay else floor + (1 - floor) * left / decay
