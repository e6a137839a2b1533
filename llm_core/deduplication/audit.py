"""How far deduplication can be trusted: a sample of its drops, measured exactly."""

import math

import numpy as np
import numpy.typing as npt

from llm_core.similarity.clusters import Shingles


def wilson(hits: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927): (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    share = hits / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def audit(shingles: Shingles, pairs: npt.NDArray[np.int64], sample: int, seed: int) -> dict[str, float]:
    """Measure a seeded sample of `pairs` (int64 [pairs, 2]: a near-duplicate that was dropped, its survivor).

    Joined pairs are verified, but a cluster chains them, and its survivor may be less like one
    of its members than the threshold: that is what is counted here as a false positive.
    """
    if len(pairs) > sample:
        pairs = pairs[np.sort(np.random.default_rng(seed).choice(len(pairs), sample, replace=False))]
    alike = [shingles.similarity(dropped, survivor) for dropped, survivor in pairs.tolist()]
    wrong = sum(value < shingles.near.threshold for value in alike)
    low, high = wilson(wrong, len(alike))
    return {
        "audited": len(alike),
        "false_positives": wrong,
        "false_positive_rate": wrong / len(alike) if alike else 0.0,
        "false_positive_rate_low": low,
        "false_positive_rate_high": high,
        "mean_similarity": float(np.mean(alike)) if alike else 1.0,
    }
