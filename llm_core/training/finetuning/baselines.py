"""What a trained model must beat to have learned something: linear models over TF-IDF features.

Each is fitted on the training rows, its strength of regularisation is chosen on the held-out rows, and it is measured
on the test rows, as the model is. Deterministic: both solvers are, and nothing is drawn.

Features are words and pairs of words, of every script (`kernels/words.py`).
The classifier is logistic regression, the usual baseline for texts (Wang and
Manning 2012); it costs seconds for ten thousand short texts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llm_core.kernels.words import words

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
        ngram_range=(1, 2), sublinear_tf=True, lowercase=False, tokenizer=words, token_pattern=None,
        max_features=MAXIMUM_FEATURES,
    )  # fmt: skip
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


def features_of(rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any]:
    """Side -> features of rows with `text`, and of both texts and their overlap for rows with `text_pair`."""
    if not any("text_pair" in row for row in rows["train"]):
        return tfidf({side: [row["text"] for row in found] for side, found in rows.items()})
    from scipy.sparse import csr_matrix, hstack

    first, second = (
        {side: [row[name] for row in found] for side, found in rows.items()} for name in ("text", "text_pair")
    )
    parts = tfidf(first), tfidf(second)
    common = tfidf({"train": [*first["train"], *second["train"]]} | {
        f"{side} {number}": texts[side] for number, texts in enumerate((first, second)) for side in rows
    })  # fmt: skip
    features = {}
    for side in rows:
        cosine = common[f"{side} 0"].multiply(common[f"{side} 1"]).sum(1)
        shared = np.array([overlap(*pair) for pair in zip(first[side], second[side], strict=True)]).reshape(-1, 3)
        features[side] = hstack([parts[0][side], parts[1][side], csr_matrix(np.hstack([cosine, shared]))]).tocsr()
    return features


def overlap(text: str, other: str) -> tuple[float, float, float]:
    """Of the words of two texts: shared by all, shared by the second's, and number of the second's by the first's."""
    ours, others = (set(words(one)) for one in (text, other))
    shared = len(ours & others)
    return shared / max(len(ours | others), 1), shared / max(len(others), 1), len(others) / max(len(ours), 1)


def label_odds(features: Mapping[str, Any], truth: np.ndarray) -> dict[str, np.ndarray]:
    """Side -> probability of each label, float64 (rows, labels), by one logistic regression a label.

    `truth` has the labels of the training rows, bool (rows, labels). A label of all training rows, or of none, has
    the probability 1, or 0. The strength of regularisation is scikit-learn's default: a search for each of many labels
    would see few held-out rows.
    """
    from sklearn.linear_model import LogisticRegression

    odds = {side: np.zeros((found.shape[0], truth.shape[1])) for side, found in features.items() if side != "train"}
    for label in range(truth.shape[1]):
        if truth[:, label].all() or not truth[:, label].any():
            for found in odds.values():
                found[:, label] = float(truth[0, label])
            continue
        model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
        model.fit(features["train"], truth[:, label])
        for side, found in odds.items():
            found[:, label] = model.predict_proba(features[side])[:, 1]
    return odds


def predict_linearly(features: Mapping[str, Any], truth: Mapping[str, np.ndarray]) -> np.ndarray:
    """Scores of the test rows, float64 (rows,), by ridge regression; `truth` has those of the other sides."""
    from sklearn.linear_model import Ridge

    models = [Ridge(alpha=1 / strength, solver="sparse_cg", tol=1e-6) for strength in STRENGTHS]
    errors = []
    for model in models:
        model.fit(features["train"], truth["train"])
        missed = model.predict(features["heldout"]) - truth["heldout"] if len(truth["heldout"]) else np.zeros(1)
        errors.append(float((missed**2).mean()))
    return np.asarray(models[int(np.argmin(errors))].predict(features["test"]))


def rank_linearly(
    features: Mapping[str, Any], truth: Mapping[str, np.ndarray], counts: Mapping[str, Sequence[int]]
) -> list[int]:
    """The choice of each test question with the highest score of a logistic regression over its pairs.

    Rows of `features` and `truth` (whether the choice is right) are pairs of question and choice; `counts` has the
    number of choices of each question.
    """
    from sklearn.linear_model import LogisticRegression

    def chosen(model: Any, side: str) -> list[int]:
        scores = model.decision_function(features[side])
        return [int(one.argmax()) for one in np.split(scores, np.cumsum(counts[side])[:-1])]

    right = [int(one.argmax()) for one in np.split(truth["heldout"], np.cumsum(counts["heldout"])[:-1])]
    best, kept = -1, None
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, class_weight="balanced", max_iter=1000)
        model.fit(features["train"], truth["train"])
        hits = sum(one == other for one, other in zip(chosen(model, "heldout"), right, strict=True))
        if hits > best:
            best, kept = hits, model
    return chosen(kept, "test")


def prefer_linearly(features: Mapping[str, Any]) -> np.ndarray:
    """Margins of the test pairs, float64 (pairs,), above 0 where the chosen answer is preferred: Bradley-Terry.

    `features` are those of the chosen answer minus those of the rejected one, (pairs, features) of each side. The
    logistic regression sees each pair in both directions, and has no intercept: two equal answers have the margin 0.
    """
    from scipy.sparse import vstack
    from sklearn.linear_model import LogisticRegression

    both = vstack([features["train"], -features["train"]])
    wanted = np.repeat([1, 0], features["train"].shape[0])
    best, chosen = -1.0, None
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, fit_intercept=False, max_iter=1000)
        model.fit(both, wanted)
        right = (
            float((model.decision_function(features["heldout"]) > 0).mean()) if features["heldout"].shape[0] else 0.0
        )
        if right > best:
            best, chosen = right, model
    assert chosen is not None
    return np.asarray(chosen.decision_function(features["test"]))
