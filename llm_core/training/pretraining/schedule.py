"""Learning rate by tokens, as a share of the peak; a pure function of the step, so that resuming needs no state.

Linear warm-up, then cosine (Loshchilov & Hutter 2017), linear, or warmup-stable-decay
(WSD: Hu et al. 2024, arXiv:2404.06395, with a linear decay as in Hägele et al. 2024). It goes over the run's tokens, so
that a phase of larger batches counts for what it reads; the warm-up is counted in steps.
"""

import math
from collections.abc import Callable

from llm_core.params.pretraining import Optimizer

FIRST_MOMENTUM = 0.85  # where a warm-up of Muon's momentum begins (modded-nanogpt and nanochat)


def momentum(step: int, optimizer: Optimizer) -> float:
    """Muon's momentum at `step` (from 0): linear from 0.85 in `momentum_warmup_steps`."""
    first = min(FIRST_MOMENTUM, optimizer.momentum)
    done = min(step / optimizer.momentum_warmup_steps, 1.0) if optimizer.momentum_warmup_steps else 1.0
    return first + (optimizer.momentum - first) * done if done < 1 else optimizer.momentum


def learning_rate_share(
    step: int, steps: int, optimizer: Optimizer, tokens_before: Callable[[int], int] = lambda step: step
) -> float:
    """Share of the peak learning rate at `step` (0 … steps - 1) of a run of `steps`.

    `tokens_before` gives the tokens of the first so many steps; without it all steps have as many.
    """
    warmup = min(optimizer.warmup_steps, steps - 1)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    floor = optimizer.final_share
    now, first, last = tokens_before(step), tokens_before(warmup), tokens_before(steps - 1)
    done = (now - first) / max(last - first, 1)
    if optimizer.schedule == "cosine":
        return floor + (1 - floor) * (1 + math.cos(math.pi * done)) / 2
    if optimizer.schedule == "linear":
        return 1 - (1 - floor) * done
    whole = tokens_before(steps)
    batch = whole - last
    decay = max(round(optimizer.decay_share * whole / batch), 1) * batch
    return 1.0 if last - now >= decay else floor + (1 - floor) * (last - now) / decay


def stable_steps(steps: int, optimizer: Optimizer, tokens_before: Callable[[int], int] = lambda step: step) -> int:
    """Number of steps of a run before the learning rate begins to fall: those that a longer run has too. None of a
    run that is no longer than its warm-up, which is then shorter than that of a longer run."""
    if optimizer.warmup_steps >= steps:
        return 0
    falls = (
        s for s in range(optimizer.warmup_steps, steps) if learning_rate_share(s, steps, optimizer, tokens_before) < 1
    )
    return next(falls, steps)
