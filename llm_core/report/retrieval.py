"""The report's section about word vectors, search, and answers from search results.

Reads the outputs of `word2vec` and `evaluate-retrieval` in the data folder; both are off the default path.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.formats.pages import Block, Row, number, score_text
from llm_core.report.plots import word_map
from llm_core.runtime.storage import read_json

NEAR = 5  # maximum neighbours shown for a word
METHODS = ("bm25", "dense", "hybrid")


def word_vectors(data: Path) -> Iterator[Block]:
    """Nearest neighbours, analogies and maps of the vectors below `data/word2vec`."""
    folder = data / "word2vec"
    if not (folder / "metrics.json").is_file():
        return
    metrics, near, maps = (read_json(folder / f"{name}.json") for name in ("metrics", "neighbours", "maps"))
    yield Block("heading", "Word vectors")
    yield Block("text", f"Word2Vec: {metrics['vocabulary']:,} words, from {metrics['words']:,} running words.")
    yield Block("table", [_worth(algorithm, metrics[algorithm]) for algorithm in maps])
    words = dict.fromkeys(word for found in near.values() for word in found)
    yield Block(
        "table",
        [
            {"word": word} | {name: ", ".join(other for other, _ in found[word][:NEAR]) for name, found in near.items()}
            for word in words
        ],
    )
    for algorithm, places in maps.items():
        joined = any(place["joined_to"] for place in places)
        what = "countries, and in the other colour their capitals," if joined else "the most frequent words"
        yield Block("figure", word_map(places), f"{algorithm}: {what} on the first two principal components")


def _worth(algorithm: str, metrics: Row) -> Row:
    analogies, likeness = metrics["analogies"]["all"], metrics["wordsim353"]
    accuracy = analogies["accuracy"]
    interval = None if accuracy is None else {"a": accuracy, "a_low": analogies["low"], "a_high": analogies["high"]}
    return {
        "vectors": algorithm,
        "analogies right": interval and score_text(interval, "a"),
        "asked": analogies["asked"],
        "WordSim-353, Spearman": likeness["spearman"],
        "pairs": likeness["pairs"],
    }


def searched(data: Path) -> Iterator[Block]:
    """Scores of each search method, and of answers with and without search: a table for each measurement below
    `data`."""
    files = sorted([*data.glob("*/metrics.json"), *data.glob("retrieval/*/metrics.json")])
    measured = {file.parent.name: read_json(file) for file in files}
    measured = {name: metrics for name, metrics in measured.items() if "search" in metrics}
    if measured:
        yield Block("heading", "Search, and answers with it")
    for folder, metrics in measured.items():
        search, answers = metrics["search"], metrics.get("answers")
        told = f"{search['questions']:,} questions; recall, reciprocal rank and nDCG of the passages found."
        yield Block("text", f"{folder}: {told}")
        yield Block("table", [{"search": name} | _scores(search[name]) for name in METHODS if name in search])
        if answers:
            rows = [("exact", "exact match"), ("f1", "F1")]
            yield Block("table", [{"answers": name} | _answers(answers, key) for key, name in rows])
            cited = answers.get("citation_precision")
            told = f", of the passages cited {number(cited)} hold the answer" if cited is not None else ""
            yield Block("note", f"{answers['refused']:,} of {answers['questions']:,} questions refused{told}.")


def _scores(scores: Row) -> dict[str, Any]:
    return {name: score_text(scores, name) for name in scores if not name.endswith(("_stderr", "_low", "_high"))}


def _answers(answers: Row, key: str) -> dict[str, Any]:
    gain = answers[f"{key}_gain"]
    interval = {"d": gain["difference"], "d_low": gain["low"], "d_high": gain["high"]}
    sides = {f"{side} retrieval": score_text(answers, f"{key}_{side}") for side in ("with", "without")}
    return sides | {"difference": score_text(interval, "d")}
