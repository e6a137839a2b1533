"""A classifier's predictions, its confidence calibrated by one temperature, and the calibration error.

Temperature scaling is Guo et al.'s (arXiv:1706.04599), the expected calibration error is theirs too, over 15 bins.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm_core.models.loading import device_of
from llm_core.runtime.shares import wilson
from llm_core.training.finetuning.scoring import BATCH, mean_and_error, model_inputs

BINS = 15


@torch.no_grad()
def predict(model: Any, rows: list[dict[str, list[int]]], pad: int) -> np.ndarray:
    """Logits, float32 (rows, labels)."""
    found = np.zeros((len(rows), model.config.num_labels), np.float32)
    order = sorted(range(len(rows)), key=lambda at: len(rows[at]["input_ids"]))
    model.eval()
    for start in range(0, len(rows), BATCH):
        chosen = order[start : start + BATCH]
        inputs = model_inputs([rows[at] for at in chosen], pad, device_of(model))
        found[chosen] = model(**inputs).logits.float().cpu().numpy()
    return found


def label_figures(
    truth: np.ndarray, decided: np.ndarray, seed: int, groups: Sequence[str] | None = None
) -> dict[str, Any]:
    """Accuracy and macro-F1 of decisions, each with its 95 % interval; both arrays hold numbers of labels (rows,)."""
    right = (truth == decided).astype(float).tolist()
    return {
        "accuracy": mean_and_error(right, groups),
        "macro_f1": bootstrapped(macro_f1, truth, decided, seed, groups),
    }


def bootstrapped(
    measure: Callable[[np.ndarray, np.ndarray], float],
    truth: np.ndarray,
    found: np.ndarray,
    seed: int,
    groups: Sequence[str] | None = None,
    draws: int = 500,
) -> dict[str, float | None]:
    """`measure(truth, found)` with the 2.5th and 97.5th percentile of `draws` bootstrap samples of the rows, or of
    whole `groups` of rows that depend on each other.

    None in place of each where the measure is not defined for these rows, and of the ends where there is one group.
    Samples in which it is not defined are left out.
    """
    value = measure(truth, found)
    if not np.isfinite(value):
        return {"value": None, "low": None, "high": None}
    if groups is not None and len(set(groups)) < 2:
        return {"value": value, "low": None, "high": None}
    samples = _samples(len(truth), groups, draws, np.random.default_rng(seed))
    drawn = [one for one in (measure(truth[chosen], found[chosen]) for chosen in samples) if np.isfinite(one)]
    low, high = np.percentile(drawn, [2.5, 97.5]) if drawn else (value, value)
    if high - low < 1e-9 and abs(value) <= 1:  # resampling finds no spread, although the figure is not certain
        low, high = wilson(abs(value) * len(truth), len(truth))
        low, high = (low, high) if value > 0 else (-high, -low) if value < 0 else (-high, high)
    return {"value": value, "low": float(low), "high": float(high)}


def _samples(
    count: int, groups: Sequence[str] | None, draws: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Bootstrap samples: numbers of rows, drawn one by one or in whole groups."""
    if groups is None:
        yield from (generator.integers(0, count, count) for _ in range(draws))
        return
    _, place = np.unique(np.asarray(groups, str), return_inverse=True)
    members = [np.flatnonzero(place == number) for number in range(int(place.max()) + 1)]
    for _ in range(draws):
        yield np.concatenate([members[number] for number in generator.integers(0, len(members), len(members))])


def macro_f1(truth: np.ndarray, decided: np.ndarray) -> float:
    """Mean F1 over the labels that occur in either array of numbers of labels (rows,).

    Equal to scikit-learn's `f1_score(average="macro")`, which takes a hundred times as long, and a bootstrap calls it
    five hundred times.
    """
    labels = int(max(truth.max(), decided.max())) + 1
    right = np.bincount(truth[truth == decided], minlength=labels)
    total = np.bincount(truth, minlength=labels) + np.bincount(decided, minlength=labels)
    return float((2 * right[total > 0] / total[total > 0]).mean())


def fit_threshold(odds: np.ndarray, truth: np.ndarray) -> float:
    """The threshold from 0.05 to 0.95 with the best micro-F1 of `odds` (rows, labels) against `truth`; of equal ones
    the nearest to 0.5. 0.5 without rows.
    """
    grid = sorted((step / 20 for step in range(1, 20)), key=lambda one: (abs(one - 0.5), one))
    return max(grid, key=lambda one: f1_of_labels(truth, odds >= one)[0]) if len(truth) else 0.5


def f1_of_labels(truth: np.ndarray, decided: np.ndarray) -> tuple[float, float]:
    """(micro-F1, macro-F1) of bool arrays (rows, labels), 0 where there is nothing to find and nothing was found.

    Equal to scikit-learn's `f1_score(average="micro" or "macro", zero_division=0)`.
    """
    right, total = (truth & decided).sum(0), truth.sum(0) + decided.sum(0)
    micro = 2 * float(right.sum()) / float(total.sum()) if total.sum() else 0.0
    return micro, float((2 * right / np.maximum(total, 1)).mean())


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature, within 0.05 to 20, with the smallest cross-entropy of softmax(logits / temperature)."""
    from scipy.optimize import minimize_scalar

    if not len(truth):
        return 1.0

    def loss(log_heat: float) -> float:
        return -float(np.log(softmax(logits / np.exp(log_heat))[np.arange(len(truth)), truth] + 1e-12).mean())

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.05), np.log(20)), method="bounded").x))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Rows of probabilities."""
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def reliability(probabilities: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    """Expected calibration error, and (mean confidence, accuracy, rows) of each bin of equal width that has rows."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == truth
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = [
        (float(confidence[place == at].mean()), float(right[place == at].mean()), int((place == at).sum()))
        for at in range(BINS)
        if (place == at).any()
    ]
    error = sum(rows * abs(mean - accuracy) for mean, accuracy, rows in bins) / max(len(truth), 1)
    return {"error": float(error), "bins": bins}


def plot_reliability(bins: list[tuple[float, float, int]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4, 4))
    axes.plot([0, 1], [0, 1], "--", color="grey")
    axes.plot([one for one, _, _ in bins], [two for _, two, _ in bins], "o-")
    axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title="Reliability on test rows")
    figure.savefig(path, dpi=100, metadata={"Software": ""})
    pyplot.close(figure)
