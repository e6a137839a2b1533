"""Answers with citations: find passages, give the model their best lines, name the source of each.

A small model cannot use whole passages, so it reads the lines (or sentences) that
are nearest to the question; with `retrieval.evidence: 0` it reads whole passages, for large models.
An answer cites the passages whose lines contain its words; if there are none, it is marked as unsupported,
because it comes from the model's weights and not from the corpus.
"""

from dataclasses import dataclass
from typing import Any

from llm_core.evaluation.answer_matching import holds
from llm_core.kernels.sentences import sentences
from llm_core.params.retrieval import Retrieval
from llm_core.retrieval.passages import titled
from llm_core.retrieval.reader import Reader
from llm_core.retrieval.search import Method, Search

REFUSAL = "No passage of the corpus is close enough to this question to answer it."


@dataclass(frozen=True)
class Evidence:
    """A line that the model reads."""

    text: str
    passage: int
    """number of its passage in the index"""


@dataclass(frozen=True)
class Answer:
    """The result of `ask`."""

    text: str
    refused: bool
    supported: bool
    """whether one of the lines contains the answer's words"""
    citations: list[dict[str, Any]]
    """rows of passages (`passages.SCHEMA`): those that support the answer, else all shown; [] where none fits"""
    similarity: float | None
    """cosine similarity of the best passage with the question"""


class Asker:
    """Answers questions from an index with a model."""

    def __init__(self, search: Search, reader: Reader, params: Retrieval, method: Method | None = None) -> None:
        self.search, self.reader, self.params, self.method = search, reader, params, method

    def __call__(self, question: str) -> Answer:
        """Search, refuse or answer, cite. Raises UserError if the question exceeds the token budget."""
        hits = self.search(question, self.params.top, self.method)
        similarity = max((hit.similarity for hit in hits if hit.similarity is not None), default=None)
        if not hits or (similarity is not None and similarity < self.params.relevance):
            return Answer(REFUSAL, True, False, [], similarity)
        found = evidence(self.search, question, [hit.passage for hit in hits], self.params.evidence)
        ids, count = self.reader.prompt(question, [line.text for line in found])
        (text,) = self.reader([ids])
        shown = found[:count]
        holding = [line for line in shown if holds(line.text, text)]
        chosen = list(dict.fromkeys(line.passage for line in holding or shown))
        return Answer(text, False, bool(holding), [self.search.index.passage(number) for number in chosen], similarity)


def evidence(search: Search, question: str, passages: list[int], count: int) -> list[Evidence]:
    """The lines that the model reads, best first; a line of two passages counts for the better one.

    Maximum `count` lines; 0 gives whole passages.
    """
    rows = [(number, search.index.passage(number)) for number in passages]
    if not count:
        return [Evidence(titled(row["title"], row["text"]), number) for number, row in rows]
    lines: dict[str, Evidence] = {}
    titles = []
    for number, row in rows:
        for line in sentences(row["text"]):
            if line not in lines:
                lines[line] = Evidence(line, number)
                titles.append(row["title"] or "")
    found = list(lines.values())
    nearest = search.rank(question, [f"{t}\n{line.text}" for t, line in zip(titles, found, strict=True)])
    return [found[place] for place in nearest[:count]]
