"""Taggers without a neural network, by which a finetuned one is measured: a dictionary, and a linear model of words.

The linear model sees what a tagger by hand would use (Ratinov and Roth 2009): the word, its ends, its shape, and the
words around it. It decides each word by itself.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

Words = Sequence[Sequence[str]]
Tags = Sequence[Sequence[str]]
SHAPES = ((re.compile(r"[^\W\d_]"), "x"), (re.compile(r"\d"), "9"))
ENDS = (1, 2, 3, 4)  # letters of prefixes and suffixes
AROUND = (-2, -1, 1, 2)


def most_frequent_tags(train: Words, tags: Tags, asked: Words) -> list[list[str]]:
    """The tag that each word has most often in training, as it is written; `O` for a word that is not there."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for words, row in zip(train, tags, strict=True):
        for word, tag in zip(words, row, strict=True):
            counts[word][tag] += 1
    best = {word: min(found, key=lambda tag: (-found[tag], tag)) for word, found in counts.items()}
    return [[best.get(word, "O") for word in words] for words in asked]


def linear_tags(train: Words, tags: Tags, asked: Words, seed: int) -> list[list[str]]:
    """Tags by a linear support vector machine over features of words; it decides alike for the same seed. Where
    training has one tag alone, all words have it."""
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.svm import LinearSVC

    known = {tag for row in tags for tag in row}
    if len(known) < 2:
        return [[tag for _ in words for tag in known] for words in asked]
    vectorizer = DictVectorizer()
    features = vectorizer.fit_transform([found for words in train for found in word_features(words)])
    features.indices, features.indptr = (part.astype("int32") for part in (features.indices, features.indptr))
    model = LinearSVC(C=0.5, random_state=seed, max_iter=2000)
    model.fit(features, [tag for row in tags for tag in row])
    decided = iter(model.predict(vectorizer.transform([found for words in asked for found in word_features(words)])))
    return [[str(next(decided)) for _ in words] for words in asked]


def word_features(words: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The features of each word of a row."""
    for at, word in enumerate(words):
        found: dict[str, Any] = {"word": word, "lower": word.lower(), "shape": shape(word), "first": at == 0}
        for length in ENDS:
            found[f"prefix{length}"] = word[:length].lower()
            found[f"suffix{length}"] = word[-length:].lower()
        for step in AROUND:
            beside = words[at + step] if 0 <= at + step < len(words) else ""
            found[f"word{step}"] = beside.lower()
            found[f"shape{step}"] = shape(beside)
        yield found


def shape(word: str) -> str:
    """A word with its letters as X and x, its digits as 9, each run of more than two cut to two.

    >>> shape("Chad"), shape("U2"), shape("1960s")
    ('Xxx', 'X9', '99x')
    """
    letters = "".join(
        "X" if letter.isupper() else next((sign for form, sign in SHAPES if form.match(letter)), letter)
        for letter in word
    )
    return re.sub(r"(.)\1{2,}", r"\1\1", letters)
