"""Measures of word vectors: neighbours, analogies, agreement with people's judgements, a plot.

Analogies: the 19,544 questions of Mikolov et al. (2013), "Athens is to Greece as Oslo is to
...", answered by the nearest word to b - a + c; a question counts if all four words have
a vector, and `asked` is their number. Similarity: Spearman's rank correlation with people's
judgements of 353 pairs (Finkelstein et al. 2002). Both files are part of gensim.
"""

from pathlib import Path
from typing import Any

import numpy as np

from llm_core.evaluation.statistics import interval, mean_and_error
from llm_core.runtime import json_lines

COUNTRIES = ("capital-common-countries", "capital-world")
PAIRS = 24  # maximum number of capitals in the plot


def packaged(name: str) -> Path:
    """A test set that is part of gensim."""
    import gensim

    return Path(gensim.__file__).parent / "test" / "test_data" / name


def questions(file: Path | None = None) -> dict[str, list[tuple[str, ...]]]:
    """Analogy questions by section, in lower case."""
    sections: dict[str, list[tuple[str, ...]]] = {}
    name = ""
    for line in json_lines.text_lines((file or packaged("questions-words.txt")).read_text("utf-8")):
        if line.startswith(":"):
            name = line[1:].strip()
        elif line.strip():
            sections.setdefault(name, []).append(tuple(line.lower().split()))
    return sections


def analogies(vectors: Any, sections: dict[str, list[tuple[str, ...]]] | None = None) -> dict[str, Any]:
    """Accuracy with its 95 % interval, in all and by section; `share_asked` is the share of the set that has
    vectors."""
    sections = sections if sections is not None else questions()
    unit = vectors.get_normed_vectors()
    scores: dict[str, Any] = {}
    everything: list[float] = []
    for name, rows in sections.items():
        known = [row for row in rows if all(word in vectors.key_to_index for word in row)]
        right = _answered(unit, np.array([[vectors.key_to_index[word] for word in row] for row in known], np.int64))
        everything += right
        scores[name] = _score(right, len(rows))
    scores["all"] = _score(everything, sum(map(len, sections.values())))
    return scores


def _answered(unit: Any, rows: Any) -> list[float]:
    """1 for each question (a, b, c, d) whose nearest word to b - a + c, these three left out, is d; else 0."""
    right: list[float] = []
    for start in range(0, len(rows), 512):
        block = rows[start : start + 512]
        wanted = unit[block[:, 1]] - unit[block[:, 0]] + unit[block[:, 2]]
        scores = wanted @ unit.T
        scores[np.arange(len(block))[:, None], block[:, :3]] = -np.inf
        right += (scores.argmax(1) == block[:, 3]).astype(float).tolist()
    return right


def _score(right: list[float], total: int) -> dict[str, Any]:
    if len(right) < 2:
        return {"asked": len(right), "questions": total, "accuracy": None, "low": None, "high": None}
    low, high = interval(right)
    accuracy, _ = mean_and_error(right)
    return {
        "asked": len(right), "questions": total,
        "accuracy": round(accuracy, 4), "low": round(low, 4), "high": round(high, 4),
    }  # fmt: skip


def similarity(vectors: Any) -> dict[str, Any]:
    """Spearman correlation with WordSim-353 over the pairs that have vectors; None for fewer than 3."""
    from scipy.stats import spearmanr

    judged, ours = [], []
    for line in json_lines.text_lines(packaged("wordsim353.tsv").read_text("utf-8")):
        if line.startswith("#"):
            continue
        first, second, score = line.lower().split("\t")
        if first in vectors.key_to_index and second in vectors.key_to_index:
            judged.append(float(score))
            ours.append(float(vectors.similarity(first, second)))
    found = round(float(spearmanr(judged, ours).statistic), 4) if len(ours) >= 3 else None
    return {"pairs": len(ours), "spearman": found}


def neighbours(vectors: Any, chosen: list[str], count: int) -> dict[str, list[list[Any]]]:
    """The nearest words, with cosine similarity, to each of `chosen` that has a vector."""
    return {
        word: [[near, round(float(score), 4)] for near, score in vectors.most_similar(word, topn=count)]
        for word in chosen
        if word in vectors.key_to_index
    }


def word_map(vectors: Any) -> list[dict[str, Any]]:
    """Places (x, y) of countries and of their capitals, `joined_to` them, on the first two principal components.

    If no such pair has vectors, places of the most frequent words.
    """
    pairs = dict(capitals(vectors))
    names = list(dict.fromkeys([*pairs.values(), *pairs])) or vectors.index_to_key[: 2 * PAIRS]
    places = principal(np.stack([vectors.get_vector(name, norm=True) for name in names]))
    return [
        {"word": name, "x": round(float(x), 4), "y": round(float(y), 4), "joined_to": pairs.get(name)}
        for name, (x, y) in zip(names, places, strict=True)
    ]


def plot(places: list[dict[str, Any]], file: Path, title: str) -> None:
    """Draw a `word_map`."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    at = {place["word"]: (place["x"], place["y"]) for place in places}
    figure, axes = plt.subplots(figsize=(8, 6), layout="constrained")
    for place in places:
        if place["joined_to"]:
            axes.plot(*zip(at[place["word"]], at[place["joined_to"]], strict=True), color="0.8", linewidth=1, zorder=1)
        axes.scatter(*at[place["word"]], c="tab:red" if place["joined_to"] else "tab:blue", s=14, zorder=2)
        axes.annotate(place["word"], at[place["word"]], fontsize=8, xytext=(3, 2), textcoords="offset points")
    axes.set(title=title, xticks=[], yticks=[])
    figure.savefig(file, dpi=110, metadata={"Software": None})
    plt.close(figure)


def capitals(vectors: Any) -> list[tuple[str, str]]:
    """(capital, country) of the analogy set where both have vectors, the most frequent countries first."""
    sections = questions()
    pairs = dict.fromkeys(row[:2] for name in COUNTRIES for row in sections[name])
    known = [(a, b) for a, b in pairs if a in vectors.key_to_index and b in vectors.key_to_index]
    return sorted(known, key=lambda pair: vectors.key_to_index[pair[1]])[:PAIRS]


def principal(rows: Any) -> Any:
    """The first two principal components of `rows`: float [rows, 2]; signs are fixed, so that a plot can be
    reproduced."""
    centred = rows - rows.mean(0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]  # one row has one component
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    places = centred @ axes.T
    return np.pad(places, ((0, 0), (0, 2 - places.shape[1])))
