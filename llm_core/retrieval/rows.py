"""Instruction rows that teach a model to read what retrieval shows it, in the very form in which `ask` shows it.

Retrieval-augmented finetuning (RAFT, Zhang et al. 2024): each question is searched for in the index and asked below
the lines found. Where search missed, a line that holds the answer takes the place of the last one, so that the answer
is there to be copied among distractors; for one question in REFUSED such lines are left out instead, and the right
answer is NOT_THERE. One in MEMORY is asked without evidence too, so that this ability is not lost.

A small model learns a few thousand answers by heart sooner than it learns to read. So each question comes again
SUBSTITUTED times with another question's answer in the lines, and that one is right then: there is nothing to
remember (answer substitution, Longpre et al. 2021, arXiv:2109.05052). Sides stay apart: rows of train come from
questions of train.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from llm_core import progress
from llm_core.answers import holds
from llm_core.params.retrieval import Retrieval
from llm_core.retrieval.ask import LINE, Evidence, evidence
from llm_core.retrieval.index import Index
from llm_core.retrieval.search import Search

Row = dict[str, Any]
REFUSED = 20
MEMORY = 4
SUBSTITUTED = 3
NOT_THERE = "The passages do not tell."


class RowBuilder:
    """Makes the rows of questions (`messages`, `answer`, `country`, `kind`, `id`) from an index."""

    def __init__(self, folder: Path, params: Retrieval, seed: int) -> None:
        self.search, self.params, self.seed = Search(Index(folder), params), params, seed
        self._about: dict[str, list[int]] = {}
        for number, title in enumerate(self.search.index.table["title"].to_pylist()):
            self._about.setdefault((title or "").split(":")[0], []).append(number)

    def __call__(self, questions: list[Row]) -> list[Row]:
        """The rows that `rows` makes of each question, in the questions' order; answers are exchanged among them."""
        fields: dict[str, list[Row]] = defaultdict(list)
        for row in questions:
            fields[row["field"]].append(row)
        made: list[Row] = []
        with progress.task("evidence", total=len(questions), unit="questions") as work:
            for row in questions:
                made.extend(self.rows(row, fields))
                work.update()
        return made

    def rows(self, row: Row, fields: dict[str, list[Row]]) -> list[Row]:
        """One question's rows: `closed` (as it is, by the draw), `retrieved` or `refused` (by the draw), `substituted`.

        `fields` has the questions (field -> rows) whose answers may be put into the evidence of this one.
        """
        draw = random.Random(f"{self.seed}-{row['id']}-evidence")
        refused, memory = draw.randrange(REFUSED) == 0, draw.randrange(MEMORY) == 0
        rows = [row] if memory else []
        question = row["messages"][-2]["content"]
        hits = [hit.passage for hit in self.search(question, self.params.top)]
        shown = evidence(self.search, question, hits, self.params.evidence)
        if refused:
            shown = [line for line in shown if not holds(line.text, row["answer"])]
            return [*rows, self.row(row, "refused", shown, NOT_THERE)]
        if not any(holds(line.text, row["answer"]) for line in shown):
            shown[-1:] = self.gold(question, row)
            draw.shuffle(shown)
        if any(holds(line.text, row["answer"]) for line in shown):
            rows += [self.row(row, "retrieved", shown, row["answer"]), *self.substituted(row, shown, fields)]
        return rows

    def gold(self, question: str, row: Row) -> list[Evidence]:
        """The line of the country's passages that holds the answer, nearest to the question; [] where there is none."""
        lines: dict[str, Evidence] = {}
        for number in self._about.get(row["country"], []):
            for part in LINE.split(self.search.index.passage(number)["text"]):
                if holds(part, row["answer"]):
                    lines.setdefault(part.strip(), Evidence(part.strip(), number))
        return [lines[list(lines)[self.search.rank(question, list(lines))[0]]]] if lines else []

    def substituted(self, row: Row, lines: list[Evidence], fields: dict[str, list[Row]]) -> Iterator[Row]:
        """The question with other questions' answers in its lines, in any order.

        Every second one is of any field, so that what kind of thing is asked for does not give it away either.
        Left out where the answer cannot be exchanged whole, or the question itself holds it.
        """
        written = re.compile(rf"(?<!\w){re.escape(row['answer'])}(?!\w)", re.I)
        for number in range(SUBSTITUTED):
            draw = random.Random(f"{self.seed}-{row['id']}-substituted-{number}")
            other = draw.choice(fields[row["field"] if number % 2 == 0 else draw.choice(sorted(fields))])
            shown = [replace(line, text=written.sub(lambda _: other["answer"], line.text)) for line in lines]  # noqa: B023
            texts = [line.text for line in shown]
            if holds("\n".join(texts), other["answer"]) and not holds(
                "\n".join([*texts, row["messages"][-2]["content"]]), row["answer"]
            ):
                draw.shuffle(shown)
                made = self.row(row, f"substituted-{number}", shown, other["answer"], other.get("documents", ()))
                yield {**made, "kind": "substituted"}

    def row(self, row: Row, kind: str, lines: list[Evidence], answer: str, others: Iterable[str] = ()) -> Row:
        """The question below these lines; it names their documents, and `others` that it is made from."""
        asked = "\n".join([*(line.text for line in lines), row["messages"][-2]["content"]])
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        shown = {self.search.index.passage(line.passage)["document_id"] for line in lines}
        documents = sorted(shown.union(others, row.get("documents", ())))
        made = {"kind": kind, "answer": answer, "documents": documents, "messages": turns}
        return {**row, "id": f"{row['id']}-{kind}", **made}
