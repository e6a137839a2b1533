"""What a trained model must beat to have learned something: linear models over TF-IDF features.

Each is fitted on the training rows, its strength of regularisation is chosen on the held-out rows, and it is measured
on the test rows, as the model is. Deterministic: both solvers are, and nothing is drawn.

Features are words and pairs of words. The classifier is logistic regression, the usual baseline for texts (Wang and
Manning 2012); it costs seconds for ten thousand short texts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # inverse of the regularisation: scikit-learn's C
MAXIMUM_FEATURES = 100_000
Texts = Mapping[str, Sequence[str]]  # side -> its texts


def tfidf(texts: Texts) -> dict[str, Any]:
    """Side -> sparse float64 matrix (texts, features), with the vocabulary of the training texts.

    Texts without a word have one feature, which is always 0.
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b", max_features=MAXIMUM_FEATURES
    )
    try:
        vectorizer.fit(texts["train"])
    except ValueError:  # no text has a word
        return {side: csr_matrix((len(found), 1)) for side, found in texts.items()}
    return {side: vectorizer.transform(found) for side, found in texts.items()}


def classify_linearly(features: Mapping[str, Any], truth: Mapping[str, np.ndarray], balanced: bool) -> np.ndarray:
    """Labels of the test rows, int64 (rows,), by logistic regression; `truth` has the labels of each side as numbers.

    `balanced` weighs each class by the inverse of its frequency.
    """
    from sklearn.linear_model import LogisticRegression

    best, chosen = -1.0, None
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, class_weight="balanced" if balanced else None, max_iter=1000)
        model.fit(features["train"], truth["train"])
        right = float(model.score(features["heldout"], truth["heldout"])) if len(truth["heldout"]) else 0.0
        if right > best:
            best, chosen = right, model
    assert chosen is not None
    return np.asarray(chosen.predict(features["test"]))


def most_frequent(labels: Sequence[int], rows: int) -> np.ndarray:
    """The most frequent of `labels` (of several, the smallest) as the answer to `rows` rows, int64."""
    return np.full(rows, np.bincount(labels).argmax())
