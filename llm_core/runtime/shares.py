"""The interval of a share: Wilson's, which is never empty and never leaves 0 to 1."""

import math
from statistics import NormalDist


def wilson(hits: float, trials: float, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share (Wilson 1927); (0, 1) without trials.

    With no hit the lower bound is exactly 0, with nothing but hits the upper bound is exactly 1.

    >>> low, high = wilson(0, 100)
    >>> low, round(high, 4)
    (0.0, 0.037)
    """
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, scale = hits / trials, 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2) / scale
    low = 0.0 if hits <= 0 else max(0.0, min(middle - half, share))
    high = 1.0 if hits >= trials else min(1.0, max(middle + half, share))
    return low, high
