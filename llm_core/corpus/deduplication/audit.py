"""How far deduplication can be trusted: a sample of its drops, measured exactly."""

import numpy as np
import numpy.typing as npt

from llm_core.corpus.similarity.clusters import Shingles
from llm_core.formats.disk_columns import ROWS_AT_ONCE
from llm_core.runtime.shares import wilson


def drawn(codes: npt.NDArray[np.int8], code: int, sample: int, seed: int) -> npt.NDArray[np.int64]:
    """Numbers of a seeded sample of the rows of `codes` that hold `code`, ascending."""
    parts = range(0, len(codes), ROWS_AT_ONCE)
    count = sum(int(np.count_nonzero(codes[start : start + ROWS_AT_ONCE] == code)) for start in parts)
    chosen = np.sort(np.random.default_rng(seed).choice(count, min(count, sample), replace=False))
    rows, before = [np.zeros(0, np.int64)], 0
    for start in parts:
        here = np.flatnonzero(codes[start : start + ROWS_AT_ONCE] == code)
        first, last = np.searchsorted(chosen, [before, before + len(here)])
        rows.append(start + here[chosen[first:last] - before])
        before += len(here)
    return np.concatenate(rows)


def audit(shingles: Shingles, pairs: npt.NDArray[np.int64]) -> dict[str, float]:
    """Measure `pairs` of texts (int64 [pairs, 2]: one that was dropped as a near-duplicate, its survivor's).

    Joined pairs are verified, but a cluster chains them, and its survivor may be less like one
    of its members than the threshold: that is what is counted here as a false positive.
    """
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
