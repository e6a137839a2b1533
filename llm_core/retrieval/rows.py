"""Instruction rows that teach a model to read what retrieval shows it, in the very form in which `ask` shows it.

Retrieval-augmented finetuning (RAFT, Zhang et al. 2024): each question is searched for in the index and asked below
the lines found. Where search missed, a line that holds the answer takes the place of the last one, so that the answer
is there to be copied among distractors; for one question in REFUSED such lines are left out instead, and the right
answer is NOT_THERE. One in MEMORY is asked without evidence too, so that this ability is not lost. Sides stay
apart: rows of train come from questions of train.
"""

import random
from pathlib import Path
from typing import Any

from llm_core import progress
from llm_core.answers import holds
from llm_core.params.retrieval import Retrieval
from llm_core.retrieval.ask import LINE, evidence
from llm_core.retrieval.index import Index
from llm_core.retrieval.search import Search

Row = dict[str, Any]
REFUSED = 20
MEMORY = 4
NOT_THERE = "The passages do not tell."


class RowBuilder:
    """Makes the rows of questions (`messages`, `answer`, `country`, `kind`, `id`) from an index."""

    def __init__(self, folder: Path, params: Retrieval, seed: int) -> None:
        self.search, self.params, self.seed = Search(Index(folder), params), params, seed
        self._about: dict[str, list[int]] = {}
        for number, title in enumerate(self.search.index.table["title"].to_pylist()):
            self._about.setdefault((title or "").split(":")[0], []).append(number)

    def __call__(self, questions: list[Row]) -> list[Row]:
        """Rows of kind `retrieved` and `refused`, and the `closed` ones that are kept; the order is the questions'."""
        rows: list[Row] = []
        with progress.task("evidence", total=len(questions), unit="questions") as work:
            for row in questions:
                rows.extend(self.rows(row))
                work.update()
        return rows

    def rows(self, row: Row) -> list[Row]:
        """What one question gives: a row with evidence where there is any, and by the draw itself as it is."""
        draw = random.Random(f"{self.seed}-{row['id']}-evidence")
        refused, memory = draw.randrange(REFUSED) == 0, draw.randrange(MEMORY) == 0
        question = row["messages"][-2]["content"]
        hits = [hit.passage for hit in self.search(question, self.params.top)]
        shown = [line.text for line in evidence(self.search, question, hits, self.params.evidence)]
        if refused:
            shown = [line for line in shown if not holds(line, row["answer"])]
        elif not any(holds(line, row["answer"]) for line in shown):
            shown[-1:] = self.gold(question, row)
            draw.shuffle(shown)
        rows = [row] if memory else []
        if refused or any(holds(line, row["answer"]) for line in shown):
            answer = NOT_THERE if refused else row["answer"]
            asked = {"role": "user", "content": "\n".join([*shown, question])}
            said = {"role": "assistant", "content": answer}
            kind = "refused" if refused else "retrieved"
            rows.append({**row, "id": f"{row['id']}-{kind}", "kind": kind, "answer": answer, "messages": [asked, said]})
        return rows

    def gold(self, question: str, row: Row) -> list[str]:
        """The line of the country's passages that holds the answer, nearest to the question; [] where there is none."""
        texts = [self.search.index.passage(number)["text"] for number in self._about.get(row["country"], [])]
        lines = [part.strip() for text in texts for part in LINE.split(text) if holds(part, row["answer"])]
        lines = list(dict.fromkeys(lines))
        return [lines[self.search.rank(question, lines)[0]]] if lines else []
