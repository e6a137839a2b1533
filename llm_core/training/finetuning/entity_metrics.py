"""Precision, recall and F1 of entities: one counts as found where its type, its first and its last word are right.

The figures equal seqeval's in its default mode, which are those of the CoNLL evaluation script. Intervals resample
rows, or groups of rows that depend on each other.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from llm_core.runtime.shares import wilson
from llm_core.training.finetuning.data.entities import Entity, entities
from llm_core.training.finetuning.scoring import mean_and_error

DRAWS = 500
Tags = Sequence[Sequence[str]]
Table = list[dict[str, Any]]


def entity_figures(truth: Tags, decided: Tags, seed: int, groups: Sequence[str] | None = None) -> dict[str, Any]:
    """Figures of the tags `decided` for rows with the tags `truth`, and `items`: the F1 of each row."""
    right, given, true = (counts.sum(1) for counts in _counts(truth, decided)[1])
    figures: dict[str, Any] = {
        name: _with_interval(name, np.stack([right, given, true], 1), seed, groups)
        for name in ("precision", "recall", "f1")
    }
    words = [float(one == other) for row in zip(truth, decided, strict=True) for one, other in zip(*row, strict=True)]
    rows = [_score("f1", np.array(row)) if row[1] + row[2] else 1.0 for row in zip(right, given, true, strict=True)]
    return figures | {
        "word_accuracy": float(np.mean(words)),
        "row_f1": mean_and_error(rows, groups),
        "items": {"row_f1": rows},
    }


def label_table(truth: Tags, decided: Tags) -> Table:
    """A line for each type of entity: precision, recall, F1 and the number of entities."""
    labels, counts = _counts(truth, decided)
    lines = []
    for at, label in enumerate(labels):
        sums = np.array([part[:, at].sum() for part in counts])
        shown = {name: _score(name, sums) for name in ("precision", "recall", "f1")}
        lines.append({"entity": label, **shown, "entities": int(sums[2])})
    return lines


def unseen_recall(
    words: Sequence[Sequence[str]], truth: Tags, decided: Tags, known: set[tuple[str, ...]],
    groups: Sequence[str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Share of the entities found whose words are no entity of `known`, with its interval: what is not memorised."""
    found: list[float] = []
    of: list[str] = []
    for at, (row, true, given) in enumerate(zip(words, truth, decided, strict=True)):
        said = set(entities(given))
        found += [float(one in said) for one in entities(true) if named(row, one) not in known]
        of += [groups[at] if groups else ""] * (len(found) - len(of))
    return mean_and_error(found, of if groups else None)


def named(words: Sequence[str], entity: Entity) -> tuple[str, ...]:
    """The words of an entity."""
    return tuple(words[entity[1] : entity[2] + 1])


def _counts(truth: Tags, decided: Tags) -> tuple[list[str], tuple[np.ndarray, ...]]:
    """(types, (found, predicted, true) entities, each of shape (rows, types))."""
    pairs = [(set(entities(one)), set(entities(other))) for one, other in zip(truth, decided, strict=True)]
    labels = sorted({label for pair in pairs for part in pair for label, _, _ in part})
    place = {label: at for at, label in enumerate(labels)}
    counts = tuple(np.zeros((len(pairs), len(labels))) for _ in range(3))
    for row, (true, given) in enumerate(pairs):
        for part, found in zip(counts, (true & given, given, true), strict=True):
            for label, count in Counter(label for label, _, _ in found).items():
                part[row, place[label]] = count
    return labels, counts


def _score(name: str, sums: np.ndarray) -> float:
    """Precision, recall or F1 of the sums (found, predicted, true); 0 where it is not defined, as seqeval has it."""
    right, given, true = sums
    below = {"precision": given, "recall": true, "f1": (given + true) / 2}[name]
    return float(right / below) if below else 0.0


def _with_interval(
    name: str, rows: np.ndarray, seed: int, groups: Sequence[str] | None = None
) -> dict[str, float | None]:
    """The score of rows (n, 3) with the 2.5th and 97.5th percentile of bootstrap samples of the rows, or of groups; no
    ends where there is one group."""
    if groups is not None:
        _, place = np.unique(np.asarray(groups, str), return_inverse=True)
        rows = np.stack([np.bincount(place, column) for column in rows.T], 1)
        if len(rows) < 2:
            return {"value": _score(name, rows.sum(0)), "low": None, "high": None}
    count = len(rows)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), DRAWS)
    low, high = np.percentile([_score(name, sums) for sums in weights @ rows], [2.5, 97.5])
    sums = rows.sum(0)
    value = _score(name, sums)
    if low == high:  # resampling sees no spread, which does not make the figure certain
        low, high = wilson(value * sums[2], int(sums[2]))
    return {"value": value, "low": float(low), "high": float(high)}
