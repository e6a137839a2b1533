"""Scores of clusters of benchmarks: the mean of the benchmarks that ask for one kind of ability.

The noise of several benchmarks cancels in their mean, so at a small size a cluster tells recipes apart that single
benchmarks do not (Heineman et al. 2025, arXiv:2508.13144). Each benchmark has the same weight, whatever its number of
items, and each measure is a mean over the benchmarks that have it (`gold_bpb`, `margin`: `gold.py`).
"""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from llm_core.evaluation.gold import GOLD

FEWEST = 2
"""number of scored benchmarks from which a cluster has a score"""
Z = 1.959964
"""two-sided 95 % point of the normal distribution"""


def clusters(
    scores: Mapping[str, Mapping[str, Any]], members: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Per cluster: its measures with standard error and 95 % interval, and the number of `benchmarks` in them.

    `scores` are the summaries of `harness.summarize`, `members` the benchmarks of each cluster, of which some may not
    have been scored. A cluster with fewer than two scored benchmarks is left out.

    >>> one = {"gold_bpb": 1.0, "gold_bpb_stderr": 0.3}
    >>> found = clusters({"a": one, "b": one | {"gold_bpb": 2.0}}, {"both": ["a", "b", "c"], "alone": ["a"]})
    >>> found["both"]["gold_bpb"], round(found["both"]["gold_bpb_stderr"], 3), list(found)
    (1.5, 0.212, ['both'])
    """
    found: dict[str, dict[str, float]] = {}
    for cluster, names in members.items():
        for measure in GOLD:
            parts = [scores[name] for name in names if scores.get(name, {}).get(measure) is not None]
            if len(parts) < FEWEST:
                continue
            mean = fmean(part[measure] for part in parts)
            error = math.hypot(*(part[f"{measure}_stderr"] or 0.0 for part in parts)) / len(parts)
            figures = {measure: mean, f"{measure}_stderr": error}
            figures |= {f"{measure}_low": mean - Z * error, f"{measure}_high": mean + Z * error}
            found.setdefault(cluster, {"benchmarks": len(parts)}).update(figures)
    return found
