"""Scores of clusters of benchmarks: the mean of the benchmarks that ask for one kind of ability.

The noise of several benchmarks cancels in their mean, so at a small size a cluster tells recipes apart that single
benchmarks do not (Heineman et al. 2025, arXiv:2508.13144). Each benchmark has the same weight, whatever its number of
items.
"""

import math
from collections.abc import Mapping
from statistics import NormalDist, fmean
from typing import Any

from llm_core.evaluation.gold import GOLD

CLUSTERS = {
    "knowledge": ("arc_challenge", "arc_easy", "mmlu", "openbookqa", "sciq"),
    "common sense": ("commonsense_qa", "copa", "hellaswag", "piqa", "social_iqa", "winogrande"),
    "reading": ("boolq", "lambada_openai"),
}
FEWEST = 2
"""number of scored benchmarks from which a cluster has a score"""
Z = NormalDist().inv_cdf(0.975)


def clusters(scores: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Per cluster: the measures that all of its scored benchmarks have, with standard error and 95 % interval, and the
    number of these `benchmarks`.

    `scores` are the summaries of `harness.summarize`. A cluster with fewer than two scored benchmarks is left out.

    >>> one = {"gold_bpb": 1.0, "gold_bpb_stderr": 0.3}
    >>> found = clusters({"arc_easy": one, "sciq": one | {"gold_bpb": 2.0}, "piqa": one})
    >>> found["knowledge"]["gold_bpb"], round(found["knowledge"]["gold_bpb_stderr"], 3), list(found)
    (1.5, 0.212, ['knowledge'])
    """
    found: dict[str, dict[str, float]] = {}
    for cluster, members in CLUSTERS.items():
        parts = [scores[name] for name in members if name in scores]
        if len(parts) < FEWEST:
            continue
        figures: dict[str, float] = {}
        for measure in GOLD:
            if any(part.get(measure) is None for part in parts):
                continue
            mean = fmean(part[measure] for part in parts)
            error = math.hypot(*(part[f"{measure}_stderr"] or 0.0 for part in parts)) / len(parts)
            figures |= {measure: mean, f"{measure}_stderr": error}
            figures |= {f"{measure}_low": mean - Z * error, f"{measure}_high": mean + Z * error}
        if figures:
            found[cluster] = {"benchmarks": len(parts), **figures}
    return found
