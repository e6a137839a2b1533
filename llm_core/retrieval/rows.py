"""Instruction rows that train a model to read retrieved lines, in the form in which `ask` presents them.

Retrieval-augmented finetuning (RAFT, Zhang et al. 2024): each question is searched for in the index and asked below
the lines found. Where search missed, a line that holds the answer takes the place of the last one, so that the answer
is there to be copied among distractors; for one question in REFUSED such lines are left out instead, and the right
answer is NOT_THERE. One question in MEMORY is asked without evidence too, so the model keeps this ability.

A small model memorises a few thousand answers sooner than it learns to read. So there are also conversations in which
several questions are asked about lines whose answers were exchanged for those of other questions: these answers can
only be read, not remembered (answer substitution, Longpre et al. 2021, arXiv:2109.05052). The sides are separate: rows
of train come from questions of train.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from llm_core.evaluation.answer_matching import holds
from llm_core.kernels.sentences import sentences
from llm_core.params.retrieval import Retrieval
from llm_core.retrieval.ask import Evidence, evidence
from llm_core.retrieval.index import Index
from llm_core.retrieval.search import Search
from llm_core.runtime import progress

Row = dict[str, Any]
REFUSED = 20
MEMORY = 4
EXCHANGED = 24  # number of conversations that each question is part of
QUESTIONS = 8  # number of questions in a conversation
NOT_THERE = "The passages do not tell."


class RowBuilder:
    """Builds the rows of questions (`messages`, `answer`, `country`, `kind`, `id`) from an index."""

    def __init__(self, folder: Path, params: Retrieval, seed: int) -> None:
        self.search, self.params, self.seed = Search(Index(folder), params), params, seed
        self._about: dict[str, list[int]] = {}
        for number, title in enumerate(self.search.index.table["title"].to_pylist()):
            self._about.setdefault((title or "").split(":")[0], []).append(number)
        self._lines: dict[str, list[Evidence]] = {}

    def __call__(self, questions: list[Row]) -> list[Row]:
        """The rows that `rows` makes of each question, in the questions' order, then the conversations by country."""
        made: list[Row] = []
        readable: dict[str, list[tuple[Row, Evidence]]] = defaultdict(list)
        with progress.task("evidence", total=len(questions), unit="questions") as work:
            for row in questions:
                rows, line = self.rows(row)
                made.extend(rows)
                if line:
                    readable[row["country"]].append((row, line))
                work.update()
        for country in readable.values():
            for number in range(EXCHANGED):
                made.extend(self.conversations(country, questions, number))
        return made

    def rows(self, row: Row) -> tuple[list[Row], Evidence | None]:
        """One question's rows (`closed` and `retrieved` or `refused`, as drawn), and the line that contains its answer.

        The line is None where the question is refused, or where no passage contains the answer.
        """
        draw = random.Random(f"{self.seed}-{row['id']}-evidence")
        refused, memory = draw.randrange(REFUSED) == 0, draw.randrange(MEMORY) == 0
        rows = [row] if memory else []
        question = row["messages"][-2]["content"]
        hits = [hit.passage for hit in self.search(question, self.params.top)]
        shown = evidence(self.search, question, hits, self.params.evidence)
        if refused:
            shown = [line for line in shown if not holds(line.text, row["answer"])]
            return [*rows, self.row(row, "refused", shown, [(row, NOT_THERE)])], None
        if not any(holds(line.text, row["answer"]) for line in shown):
            shown[-1:] = self.gold(row)
            draw.shuffle(shown)
        if any(holds(line.text, row["answer"]) for line in shown):
            rows.append(self.row(row, "retrieved", shown, [(row, row["answer"])]))
        return rows, next(iter(self.gold(row)), None)

    def gold(self, row: Row) -> list[Evidence]:
        """The country's line that contains the answer: the field's own, else the shortest; [] where there is none."""
        country = row["country"]
        if country not in self._lines:
            self._lines[country] = [
                Evidence(line, number)
                for number in self._about.get(country, [])
                for line in sentences(self.search.index.passage(number)["text"])
            ]
        holding = [line for line in self._lines[country] if holds(line.text, row["answer"])]
        return sorted(holding, key=lambda line: (not line.text.startswith(row.get("field", "")), len(line.text)))[:1]

    def conversations(self, country: list[tuple[Row, Evidence]], others: list[Row], number: int) -> Iterator[Row]:
        """Rows that ask each question of a country (with its line) once, QUESTIONS per row, with the lines shuffled.

        Answers are exchanged for those of `others`; an answer that cannot be exchanged as a whole stays as it is. One
        row in five stays as it is.
        """
        draw = random.Random(f"{self.seed}-{country[0][0]['country']}-{number}")
        shuffled = draw.sample(country, len(country))
        for start in range(0, len(shuffled), QUESTIONS):
            part = shuffled[start : start + QUESTIONS]
            origins = [row for row, _ in part] if draw.randrange(5) == 0 else draw.choices(others, k=len(part))
            lines: list[Evidence] = []
            asked: list[tuple[Row, str]] = []
            documents: set[str] = set()
            for (row, line), origin in zip(part, origins, strict=True):
                text = exchange(line.text, row["answer"], origin["answer"])
                answer = origin["answer"] if text else row["answer"]
                lines.append(replace(line, text=text or line.text))
                asked.append((row, answer))
                documents.update(row.get("documents", ()), origin.get("documents", ()) if text else ())
            draw.shuffle(lines)
            draw.shuffle(asked)
            yield self.row(part[0][0], f"exchanged-{number}", lines, asked, documents)

    def row(
        self, row: Row, name: str, lines: list[Evidence], asked: list[tuple[Row, str]], documents: Iterable[str] = ()
    ) -> Row:
        """A conversation: the lines and the first of the questions, its answer, the next question, ...

        It names the documents of the lines, those of `row`, and `documents`.
        """
        turns: list[dict[str, str]] = []
        for one, answer in asked:
            question = one["messages"][-2]["content"]
            shown = [] if turns else [line.text for line in lines]
            turns.append({"role": "user", "content": "\n".join([*shown, question])})
            turns.append({"role": "assistant", "content": answer})
        passages = {self.search.index.passage(line.passage)["document_id"] for line in lines}
        made = {
            "kind": name.partition("-")[0],
            "answer": asked[-1][1],
            "field": asked[-1][0].get("field"),
            "messages": turns,
        }
        return {
            **row,
            "id": f"{row['id']}-{name}",
            **made,
            "documents": sorted(passages.union(documents, row.get("documents", ()))),
        }


def exchange(text: str, answer: str, other: str) -> str | None:
    """`text` with `other` in place of `answer`; None where it would still contain `answer`, or not contain `other`.

    >>> exchange("Capital - name: Oslo (old name: Kristiania)", "Oslo", "12 km")
    'Capital - name: 12 km (old name: Kristiania)'
    """
    found = re.sub(rf"(?<!\w){re.escape(answer)}(?!\w)", lambda _: other, text, flags=re.IGNORECASE)
    return found if holds(found, other) and not holds(found, answer) else None
