"""Answers without a neural network, by which a finetuned reader is measured: nothing, or a sentence of the context."""

from collections.abc import Sequence
from typing import Any

from llm_core.kernels.sentences import sentences
from llm_core.kernels.words import words

Row = dict[str, Any]


def overlapping_sentence(row: Row) -> str:
    """The first of the sentences that share the most different words with the question."""
    asked = set(words(row["question"]))
    return max(sentences(row["context"]), key=lambda sentence: len(asked & set(words(sentence))))


def weighted_sentences(train: Sequence[Row], asked: Sequence[Row]) -> list[str]:
    """For each row, the sentence whose TF-IDF vector is nearest to the question's, weights from training contexts."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(analyzer=words, sublinear_tf=True)
    vectorizer.fit([sentence for row in train for sentence in sentences(row["context"])])
    found = []
    for row in asked:
        parts = sentences(row["context"])
        near = vectorizer.transform(parts) @ vectorizer.transform([row["question"]]).T
        found.append(parts[int(near.toarray()[:, 0].argmax())])
    return found
