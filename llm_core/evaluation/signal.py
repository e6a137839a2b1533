"""Which scores tell recipes apart at a size: their signal between recipes over their noise within one.

The runs of a recipe are seeds of it, or its last checkpoints, which cost no further training (Heineman et al. 2025,
arXiv:2508.13144, from where the ratio is). Signal is the range of the recipes' means, noise the standard deviation
between the runs of a recipe, pooled over recipes. A range of means is above zero also where recipes do not differ, so
the probability of such means by chance is given beside it (one-way analysis of variance).
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, variance
from typing import NamedTuple

from llm_core.errors import UserError
from llm_core.evaluation.gold import GOLD
from llm_core.evaluation.results import require_different
from llm_core.runtime.storage import read_json

Scores = Mapping[str, float]


class Signal(NamedTuple):
    """What one score says of the recipes."""

    score: str
    signal: float
    noise: float
    ratio: float
    chance: float
    """probability of means at least as far apart if the recipes did not differ; nan without noise"""


def scores_of(evaluation: Path) -> dict[str, float]:
    """The scores of an evaluation: bits per byte; of each benchmark its metric; of benchmarks and clusters of them
    `gold_bpb` and `margin`.

    Raises UserError where the folder holds none.
    """
    file = evaluation / "metrics.json"
    if not file.is_file():
        raise UserError(f"{evaluation}: holds no metrics.json; give a folder that `llm-core evaluate` wrote")
    metrics = read_json(file)
    found = {}
    for source, score in metrics.get("bits_per_byte", {}).items():
        found[f"bits per byte, {source}"] = score["bits_per_byte"]
    for task, score in metrics.get("benchmarks", {}).items():
        found |= {f"{task}, {name}": score[name] for name in (score["metric"], *GOLD) if name in score}
    for cluster, score in metrics.get("benchmark_clusters", {}).items():
        found |= {f"cluster {cluster}, {name}": score[name] for name in GOLD if name in score}
    return {name: float(value) for name, value in found.items() if value is not None and math.isfinite(value)}


def sizes_of(evaluation: Path) -> dict[str, tuple[float, ...]]:
    """On how much each score of an evaluation was measured: documents and bytes of a source, items of a benchmark."""
    metrics = read_json(evaluation / "metrics.json")
    texts, tasks = metrics.get("bits_per_byte", {}), metrics.get("benchmarks", {})
    found = {
        f"bits per byte, {source}": (one.get("documents", 0), one.get("bytes", 0)) for source, one in texts.items()
    }
    return found | {task: (one.get("items", 0),) for task, one in tasks.items()}


def check_runs(recipes: Sequence[Sequence[Path]]) -> None:
    """Raise UserError where an evaluation is given twice, or two were of other items."""
    runs = [run for recipe in recipes for run in recipe]
    require_different(runs)
    first = sizes_of(runs[0])
    for run in runs[1:]:
        for name, size in sizes_of(run).items():
            if first.get(name, size) != size:
                raise UserError(
                    f"{name}: {runs[0]} and {run} measured other items ({first[name]} and {size}); evaluate all runs "
                    "alike"
                )


def signals(recipes: Sequence[Sequence[Scores]]) -> list[Signal]:
    """The signal of each score that all runs have, the strongest first.

    Raises UserError for fewer than two recipes, or fewer than two runs of one.
    """
    if len(recipes) < 2 or min(map(len, recipes)) < 2:
        raise UserError("signal needs two recipes or more, and two runs of each (seeds, or the last checkpoints)")
    runs = [run for recipe in recipes for run in recipe]
    names = [name for name in runs[0] if all(name in run for run in runs)]
    found = [_signal(name, [[run[name] for run in recipe] for recipe in recipes]) for name in names]
    return sorted(found, key=lambda one: (-one.ratio, one.score))


def _signal(name: str, values: Sequence[Sequence[float]]) -> Signal:
    from scipy.special import fdtrc

    means, count = [fmean(one) for one in values], sum(map(len, values))
    signal, freedom = max(means) - min(means), count - len(values)
    within = sum(variance(one) * (len(one) - 1) for one in values) / freedom
    if not within:
        return Signal(name, signal, 0.0, math.inf if signal else 0.0, math.nan)
    overall = sum(map(sum, values)) / count
    groups = len(values) - 1
    between = sum(len(one) * (mean - overall) ** 2 for one, mean in zip(values, means, strict=True)) / groups
    noise = math.sqrt(within)
    return Signal(name, signal, noise, signal / noise, float(fdtrc(groups, freedom, between / within)))
