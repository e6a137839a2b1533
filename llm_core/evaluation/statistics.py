"""Errors of scores and of differences between them. A score is never printed bare.

Two models are compared on the same items: the paired bootstrap resamples items (documents, for
bits per byte) and looks at the difference, so that what is hard for both cancels out
(Efron and Tibshirani 1993; Koehn 2004 for text metrics). Items that depend on each other (questions about one
country) are resampled in their groups. All functions are deterministic in `seed`.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llm_core.runtime.shares import wilson

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


def interval(values: Values, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of the mean: Wilson's for values from 0 to 1 (`share_interval`), else Student's; nan for one value that
    is neither 0 nor 1.

    Equal values between 0 and 1 take Wilson's, too: that they do not vary in a sample does not make the mean certain.

    >>> low, high = interval([0] * 100)
    >>> low, round(high, 4)
    (0.0, 0.037)
    >>> low, high = interval([1, 1, 1, 0.5])  # Student's t would say 0.48 to 1.27
    >>> round(low, 2), round(high, 2)
    (0.32, 0.99)
    """
    count = len(values)
    mean, error = mean_and_error(values)
    if _binary(values):
        return wilson(sum(float(value) for value in values), count, confidence)
    if count < 2:
        return math.nan, math.nan
    if _equal(values) and 0 <= mean <= 1:
        return wilson(mean * count, count, confidence)
    if _shares(values):
        return share_interval(mean, error, count - 1, confidence)
    half = error * student(confidence, count - 1)
    return mean - half, mean + half


def share_interval(mean: float, error: float, freedom: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a mean of values from 0 to 1, which never leaves 0 to 1; `error` is above 0, `mean` inside.

    It is Wilson's of as many items of 0 and 1 as would have this error, fewer where few degrees of freedom make the
    error uncertain (Student's t; Korn and Graubard 1998, Survey Methodology 24).
    """
    count = mean * (1 - mean) / error**2 * _student_to_normal(confidence, freedom) ** -2
    return wilson(mean * count, count, confidence)


def scored(values: Values, name: str, groups: Sequence[str] | None = None, top: float = 1.0) -> dict[str, float]:
    """The mean of a metric with its standard error and 95 % interval, by the keys that every room writes.

    `top` is the value of a right item (100 for chrF): values that are all 0 say as little as so many wrong answers.

    With `groups`, the values of one group depend on each other. The interval of values of 0 and 1 is Wilson's of as
    many items as `independent` says, fewer still where there are few groups; that of other values from 0 to 1 is
    `share_interval`'s with the groups' error, that of values beyond is `clustered`'s. Of one group all have none (nan).

    >>> sorted(scored([0, 1], "acc"))
    ['acc', 'acc_high', 'acc_low', 'acc_stderr']
    """
    if top != 1.0:
        return {key: part * top for key, part in scored([value / top for value in values], name, groups).items()}
    mean, error = mean_and_error(values)
    low, high = interval(values)
    if groups is not None:
        _, error = _grouped(values, groups)
    if _equal(values) and not math.isnan(error):
        error = 0.0
    if groups is not None:
        freedom = len(set(groups)) - 1
        if not _binary(values):
            _, low, high = clustered(values, groups)
            if freedom and _shares(values):
                low, high = share_interval(mean, _clustered_error(values, groups), freedom)
        elif not freedom:
            low, high = math.nan, math.nan
        else:
            count = independent(values, groups) * _student_to_normal(0.95, freedom) ** -2
            low, high = wilson(mean * count, count)
    return {name: mean, f"{name}_stderr": error, f"{name}_low": low, f"{name}_high": high}


def independent(values: Values, groups: Sequence[str]) -> float:
    """How many independent values of 0 and 1 would have the error of these, which depend on each other in a group.

    At most as many as there are, also where the groups happen not to differ (or all values are equal, which says
    nothing about dependence); 1 where there is one group.

    >>> round(independent([1, 1, 0, 0, 1, 1, 0, 0], ["a", "a", "b", "b", "c", "c", "d", "d"]), 6)
    3.0
    """
    if len(set(groups)) < 2:
        return 1.0
    mean, error = _grouped(values, groups)
    variance = mean * (1 - mean)
    return float(min(len(values), variance / error**2)) if error and variance else float(len(values))


def detectable_difference(values: Values, groups: Sequence[str] | None = None, top: float = 1.0) -> float:
    """Smallest difference that a second model with an error like this one's must have to be distinguishable.

    For values of 0 and 1 the error is Agresti and Coull's (1998; two successes and two failures more): 0 of 200
    right does not mean that any difference at all would be seen. With `groups`, of `independent` values; `top` as in
    `scored`.
    """
    if top != 1.0:
        return top * detectable_difference([value / top for value in values], groups)
    _, error = mean_and_error(values) if groups is None else _grouped(values, groups)
    if _binary(values):
        known = len(values) if groups is None else independent(values, groups)
        count = known + 4
        share = (sum(float(value) for value in values) * known / len(values) + 2) / count
        error = math.sqrt(share * (1 - share) / count)
    return detectable(error * math.sqrt(2))


def student(confidence: float, freedom: float) -> float:
    """Half-width of a two-sided interval in standard errors, by Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))


def _binary(values: Values) -> bool:
    """Whether all values are 0 or 1, but for rounding: the F1 of a right answer may be a little less."""
    return all(min(abs(value), abs(value - 1)) < 1e-12 for value in values)


def _equal(values: Values) -> bool:
    """Whether all values are the same but for rounding, whose sums have an error that is not quite 0."""
    return bool(max(values) - min(values) <= 1e-12 * max(1.0, abs(max(values))))


def _shares(values: Values) -> bool:
    return all(0 <= value <= 1 for value in values)


def ratio_and_error(numerators: Values, denominators: Values) -> tuple[float, float]:
    """Ratio of two sums over documents, and its standard error by linearisation (Cochran 1977, 6.3)."""
    above, below = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    ratio = above.sum() / below.sum()
    if len(above) < 2:
        return float(ratio), float("nan")
    residuals = above - ratio * below
    count = len(above)
    return float(ratio), float(np.sqrt(count / (count - 1) * (residuals**2).sum()) / below.sum())


def clustered(values: Values, groups: Sequence[str], confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of values that depend on each other within a group (answers about one country), and its interval.

    The error is that of a ratio of the groups' sums and sizes; Student's t with a degree of freedom less than there are
    groups (Cochran 1977, 6.3). nan for the ends where there is one group. Where the groups do not differ at all, the
    error is that of independent values; where no value differs, that of pairs of items (`equal_pairs_error`).

    >>> clustered([1, 1, 0, 0], ["a", "a", "b", "b"])[0]
    0.5
    """
    mean, freedom = _grouped(values, groups)[0], len(set(groups)) - 1
    half = _clustered_error(values, groups) * student(confidence, freedom) if freedom else math.nan
    return mean, mean - half, mean + half


def _clustered_error(values: Values, groups: Sequence[str]) -> float:
    """Standard error of `clustered`."""
    mean, error = _grouped(values, groups)
    if error <= abs(mean) * 1e-12:
        error = equal_pairs_error(mean, len(values)) if _equal(values) else mean_and_error(values)[1]
    return error


def _grouped(values: Values, groups: Sequence[str]) -> tuple[float, float]:
    """Mean and standard error of values that depend on each other within a group; nan where there is one group."""
    sums: dict[str, list[float]] = {}
    for value, group in zip(values, groups, strict=True):
        sums.setdefault(group, []).append(float(value))
    return ratio_and_error([sum(one) for one in sums.values()], [len(one) for one in sums.values()])


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
    groups: int | None = None
    """number of groups that were resampled; None where items were"""


def paired_bootstrap(
    a: Values,
    b: Values,
    *,
    weights: tuple[Values, Values] | None = None,
    groups: Sequence[str] | None = None,
    margin: float = 0.0,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Difference of the means of `a` and `b`, item by item the same; percentile interval at `confidence`.

    With `weights` (denominators of a, of b: bytes, say) it is the difference of two ratios of sums.
    With `groups`, items of one group depend on each other: whole groups are drawn. A bootstrap of few groups is too
    narrow, by the root of n / (n - 1) and because it has normal tails instead of Student's; the resampled differences
    are widened by both (the correction of Hesterberg 2015, The American Statistician 69).
    Raises ValueError where the lengths differ, there is no item, or there is one group.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    count = len(first)
    if count == 0 or count != len(second):
        raise ValueError(f"{count} and {len(second)} items: a paired comparison needs the same items")
    below = tuple(np.asarray(w, np.float64) for w in weights) if weights else (np.ones(count), np.ones(count))
    sums, widening = [first, second, *below], 1.0
    if groups is not None:
        names, place = np.unique(np.asarray(groups, str), return_inverse=True)
        if len(names) < 2:
            raise ValueError("one group: nothing is known about the differences between groups")
        sums = [np.bincount(place, column, len(names)).astype(np.float64) for column in sums]
        widening = math.sqrt(len(names) / (len(names) - 1)) * _student_to_normal(confidence, len(names) - 1)
    units = len(sums[0])

    def difference(index: Any) -> Any:
        one, other, below_one, below_other = (column[index].sum(-1) for column in sums)
        return one / below_one - other / below_other

    generator = np.random.default_rng(seed)
    drawn: list[npt.NDArray[np.float64]] = []
    step = max(1, BLOCK // units)
    for begin in range(0, resamples, step):
        drawn.append(difference(generator.integers(0, units, (min(step, resamples - begin), units))))
    observed = float(difference(np.arange(units)))
    differences = np.concatenate(drawn)
    if groups is not None:
        differences = observed + (differences - observed) * widening
    tail = (1 - confidence) / 2
    low, high = (float(bound) for bound in np.quantile(differences, [tail, 1 - tail]))
    error, share = float(differences.std(ddof=1)), float((differences > margin).mean())
    if error <= abs(observed) * 1e-12 and weights is None and _binary(first) and _binary(second):
        error = equal_pairs_error(observed, count)
        if groups is not None:  # the items may differ although the groups do not; the error is that of items
            error = max(error, mean_and_error(first - second)[1]) * _student_to_normal(confidence, units - 1)
            share = 1 - NormalDist(observed, error).cdf(margin)
        half = NormalDist().inv_cdf(1 - tail) * error
        low, high = observed - half, observed + half
    known = None if groups is None else units
    return Difference(observed, low, high, share, detectable(error, confidence), count, known)


def _student_to_normal(confidence: float, freedom: float) -> float:
    """How much wider Student's interval is than the normal one."""
    return student(confidence, freedom) / NormalDist().inv_cdf((1 + confidence) / 2)


def equal_pairs_error(observed: float, count: int) -> float:
    """Standard error of a difference of shares that is the same for every item, so that resampling sees no spread.

    Agresti and Min (2005): half a pair more in each cell.
    """
    return math.sqrt(max(count * abs(observed) + 1 - (count * observed) ** 2 / (count + 2), 0.0)) / (count + 2)


def detectable(error: float, confidence: float = 0.95, power: float = 0.8) -> float:
    """Smallest true difference found with `power` by a two-sided test, given the difference's standard error."""
    normal = NormalDist()
    return (normal.inv_cdf(1 - (1 - confidence) / 2) + normal.inv_cdf(power)) * error
