"""Training of the quality model: logistic regression between documents known to be good and any documents.

A part of the documents, chosen by the hash of their texts (so that copies stay on one side), is held out and measured.
Averaged stochastic gradient descent in one thread: the bytes do not depend on the
number of cores, as those of solvers on BLAS may.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llm_core.corpus.cleaning.quality_model import Classifier, features, passages
from llm_core.corpus.cleaning.sampling import sample_texts
from llm_core.errors import UserError
from llm_core.params.cleaning import QualityModel
from llm_core.runtime.progress import log, report
from llm_core.runtime.storage import output_folder, write_json

THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)
Side = tuple[list[str], list[str]]  # texts to train on, texts held out


def train_quality(
    good: Sequence[str | Path], random: Sequence[str | Path], out: Path, params: QualityModel, seed: int
) -> dict[str, Any]:
    """Train on the documents at `good` (label 1) and `random` (label 0); write the folder `out`, return the metrics.

    Raises UserError where a side has too few documents to train on and to hold out.
    """
    sides = {name: _read(name, paths, params, seed) for name, paths in (("good", good), ("random", random))}
    with output_folder(out) as folder:
        model = _fit(sides, params, seed)
        model.save(folder)
        metrics = _measure(Classifier.load(folder), sides)
        write_json(folder / "metrics.json", metrics)
    log(
        f"quality model: accuracy {metrics['accuracy']:.3f}, AUC {metrics['auc']:.3f} on "
        f"{metrics['good']['held_out']} good and {metrics['random']['held_out']} random documents held out"
    )
    report({"train_quality": metrics})
    return metrics


def _read(name: str, paths: Sequence[str | Path], params: QualityModel, seed: int) -> Side:
    length = 2 * params.passage_characters * params.max_passages
    texts = sample_texts(name, paths, seed, length, params.max_documents)
    held = max(1, round(len(texts) * params.held_out))
    if len(texts) - held < 2:
        raise UserError(f"--{name} {', '.join(map(str, paths))}: {len(texts)} distinct documents are too few to train")
    return texts[held:], texts[:held]


def _fit(sides: dict[str, Side], params: QualityModel, seed: int) -> Classifier:
    from sklearn.linear_model import SGDClassifier

    parts = {
        name: [part for text in train for part in passages(text, params.passage_characters, params.max_passages)]
        for name, (train, _) in sides.items()
    }
    labels = np.repeat([1, 0], [len(parts["good"]), len(parts["random"])])
    matrix = features([*parts["good"], *parts["random"]], 1 << params.feature_bits)
    learner = SGDClassifier(
        loss="log_loss",
        alpha=params.alpha,
        max_iter=params.epochs,
        tol=None,
        average=True,
        class_weight="balanced",
        random_state=seed % (1 << 32),
    )
    learner.fit(matrix, labels)
    return Classifier(learner.coef_[0], float(learner.intercept_[0]), params.passage_characters, params.max_passages)


def _measure(model: Classifier, sides: dict[str, Side]) -> dict[str, Any]:
    """Figures by document on the held-out ones; `kept` is the share of each side at or above a threshold."""
    from sklearn.metrics import roc_auc_score

    scores = {name: model.score(held) for name, (_, held) in sides.items()}
    good, random = scores["good"], scores["random"]
    labels = np.repeat([1, 0], [len(good), len(random)])
    return {
        "accuracy": (float((good >= 0.5).mean()) + float((random < 0.5).mean())) / 2,
        "auc": float(roc_auc_score(labels, np.concatenate((good, random)))),
        **{name: {"trained": len(train), "held_out": len(held)} for name, (train, held) in sides.items()},
        "kept": {
            str(threshold): {name: float((values >= threshold).mean()) for name, values in scores.items()}
            for threshold in THRESHOLDS
        },
    }
