"""Errors of scores and of differences between them. A score is never printed bare.

Two models are compared on the same items: the paired bootstrap resamples items (documents, for
bits per byte) and looks at the difference, so that what is hard for both cancels out
(Efron and Tibshirani 1993; Koehn 2004 for text metrics). All functions are deterministic in `seed`.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Values = Sequence[float] | npt.NDArray[np.float64]
BLOCK = 1 << 22  # resampled positions held in memory at once


def mean_and_error(values: Values) -> tuple[float, float]:
    """Mean and its standard error (sample deviation over the root of n; nan for one item), as lm-eval gives them.

    Summed from the first to the last as lm-eval does, not pairwise as numpy does: equal to the last digit.
    """
    numbers = [float(value) for value in values]
    count = len(numbers)
    mean = sum(numbers) / count
    if count < 2:
        return mean, float("nan")
    deviation = math.sqrt(sum((value - mean) ** 2 for value in numbers) / (count - 1))
    return mean, deviation / math.sqrt(count)


def ratio_and_error(numerators: Values, denominators: Values) -> tuple[float, float]:
    """Ratio of two sums over documents, and its standard error by linearisation (Cochran 1977, 6.3)."""
    above, below = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    ratio = above.sum() / below.sum()
    if len(above) < 2:
        return float(ratio), float("nan")
    residuals = above - ratio * below
    count = len(above)
    return float(ratio), float(np.sqrt(count / (count - 1) * (residuals**2).sum()) / below.sum())


class Difference(NamedTuple):
    """A paired difference `a - b`, with its bootstrap interval."""

    difference: float
    low: float
    high: float
    share: float
    """share of resamples in which the difference exceeds the margin"""
    detectable: float
    """the smallest true difference that these items show at this confidence with a power of 80 %"""
    items: int


def paired_bootstrap(
    a: Values,
    b: Values,
    *,
    weights: tuple[Values, Values] | None = None,
    margin: float = 0.0,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Difference of the means of `a` and `b`, item by item the same; percentile interval at `confidence`.

    With `weights` (denominators of a, of b: bytes, say) it is the difference of two ratios of sums.
    Raises ValueError where the lengths differ or there is no item.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    count = len(first)
    if count == 0 or count != len(second):
        raise ValueError(f"{count} and {len(second)} items: a paired comparison needs the same items")
    below = tuple(np.asarray(w, np.float64) for w in weights) if weights else (np.ones(count), np.ones(count))

    def difference(index: Any) -> Any:
        one = first[index].sum(-1) / below[0][index].sum(-1)
        return one - second[index].sum(-1) / below[1][index].sum(-1)

    generator = np.random.default_rng(seed)
    drawn: list[npt.NDArray[np.float64]] = []
    step = max(1, BLOCK // count)
    for begin in range(0, resamples, step):
        drawn.append(difference(generator.integers(0, count, (min(step, resamples - begin), count))))
    differences = np.concatenate(drawn)
    tail = (1 - confidence) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    observed = float(difference(np.arange(count)))
    return Difference(
        observed,
        float(low),
        float(high),
        float((differences > margin).mean()),
        detectable(float(differences.std(ddof=1)), confidence),
        count,
    )


def detectable(error: float, confidence: float = 0.95, power: float = 0.8) -> float:
    """Smallest true difference found with `power` by a two-sided test, given the difference's standard error."""
    normal = NormalDist()
    return (normal.inv_cdf(1 - (1 - confidence) / 2) + normal.inv_cdf(power)) * error
