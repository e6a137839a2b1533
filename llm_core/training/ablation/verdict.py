"""Whether a difference between arms is significant: paired over seeds, and compared with the negative control.

Each seed trains all arms with the same initial weights and batch order, so the unit is the
difference at one seed, and the interval is Student's t over seeds (few, so no bootstrap). A
treatment counts only if its difference from the control excludes zero and its difference from
the negative control excludes zero on the same side; otherwise any exchange of documents might have the same effect.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from llm_core.evaluation.statistics import mean_and_error, student

POWER = 0.8


class Paired(NamedTuple):
    """Mean difference over seeds with its interval; negative is better (bits per byte)."""

    mean: float
    low: float
    high: float
    detectable: float
    """smallest true difference that this number of seeds detects with a power of about 80 %"""


def paired(first: Sequence[float], second: Sequence[float], confidence: float) -> Paired:
    """`first - second`, seed by seed. Raises ValueError with fewer than two seeds."""
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    count = len(differences)
    if count < 2:
        raise ValueError("a paired interval needs two seeds or more")
    mean, error = mean_and_error(differences)
    width, power = (student(level, count - 1) * error for level in (confidence, 2 * POWER - 1))
    return Paired(mean, mean - width, mean + width, width + power)


def verdict(control: Sequence[float], treatment: Sequence[float], negative: Sequence[float], confidence: float) -> str:
    """`better`, `worse`, or `not distinguishable` with the reason, of the treatment's bits per byte."""
    against = paired(treatment, control, confidence)
    beside = paired(treatment, negative, confidence)
    if against.high < 0 and beside.high < 0:
        return "better"
    if against.low > 0 and beside.low > 0:
        return "worse"
    if against.low <= 0 <= against.high:
        return "not distinguishable from the control"
    return "not distinguishable from the negative control: exchanging any documents may do the same"


def rows(scores: dict[str, dict[str, list[float]]], confidence: float) -> list[dict[str, Any]]:
    """For each metric (metric -> arm -> one figure per seed): means, differences with intervals, verdict."""
    found = []
    for metric, arms in scores.items():
        against = paired(arms["treatment"], arms["control"], confidence)
        noise = paired(arms["negative"], arms["control"], confidence)
        found.append(
            {
                "metric": metric,
                "control": float(np.mean(arms["control"])),
                "treatment − control": f"{against.mean:+.4f} ({against.low:+.4f} to {against.high:+.4f})",
                "negative − control": f"{noise.mean:+.4f} ({noise.low:+.4f} to {noise.high:+.4f})",
                "verdict": verdict(arms["control"], arms["treatment"], arms["negative"], confidence),
                "smallest shown": against.detectable,
            }
        )
    return found
