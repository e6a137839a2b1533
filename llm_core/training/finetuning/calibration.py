"""A classifier's predictions, its confidence made honest by one temperature, and how honest it is.

Temperature scaling is Guo et al.'s (arXiv:1706.04599), the expected calibration error is theirs too, over 15 bins.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from llm_core.models.loading import device_of
from llm_core.runtime.shares import wilson
from llm_core.training.finetuning.scoring import BATCH, padded

BINS = 15


@torch.no_grad()
def predict(model: Any, rows: list[dict[str, list[int]]], pad: int) -> np.ndarray:
    """Logits, float32 (rows, labels)."""
    found = np.zeros((len(rows), model.config.num_labels), np.float32)
    order = sorted(range(len(rows)), key=lambda at: len(rows[at]["input_ids"]))
    model.eval()
    for start in range(0, len(rows), BATCH):
        chosen = order[start : start + BATCH]
        ids, mask, _ = padded([rows[at] for at in chosen], pad, device_of(model))
        found[chosen] = model(input_ids=ids, attention_mask=mask).logits.float().cpu().numpy()
    return found


def macro_f1_interval(truth: np.ndarray, decided: np.ndarray, seed: int, draws: int = 500) -> dict[str, float]:
    """Macro-F1 over the labels that occur, with the 2.5th and 97.5th percentile of `draws` bootstrap samples."""
    from sklearn.metrics import f1_score

    generator = np.random.default_rng(seed)
    samples = [generator.integers(0, len(truth), len(truth)) for _ in range(draws)]
    values = [f1_score(truth[chosen], decided[chosen], average="macro", zero_division=0) for chosen in samples]
    low, high = np.percentile(values, [2.5, 97.5])
    value = float(f1_score(truth, decided, average="macro", zero_division=0))
    if low == high:  # resampling sees no spread, which does not make the figure certain
        low, high = wilson(value * len(truth), len(truth))
    return {
        "value": value,
        "low": float(low),
        "high": float(high),
    }


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
