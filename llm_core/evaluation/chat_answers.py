"""Exact match of answers to chat questions that a model was finetuned for, on questions it has not seen.

The test file has one JSON object a line with `messages` (the last one is the wanted answer), `id` and, where known,
`field`, `kind`, `group` (or `country`) and `answerable`. A question that is not answerable asks for what nothing in the
training texts or in the prompt says; it can only be guessed, and has no part in the score. The baseline answers each
question with its field's most frequent answer in `train.jsonl` beside the test file. The intervals of the score and of
its lead over the baseline are over groups where they are known, since the questions of one group depend on each other.
Answers are compared in SQuAD's normal form (Rajpurkar et al. 2016).
"""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.evaluation.answer_matching import normalize
from llm_core.evaluation.journal import Journal
from llm_core.evaluation.results import GROUP, group_of, groups_of, kind_of_row, kinds_of_rows
from llm_core.evaluation.statistics import clustered, detectable_difference, mean_and_error, scored
from llm_core.evaluation.tasks import spread
from llm_core.models import generation
from llm_core.models.family import kind_of
from llm_core.models.generation import Decoding
from llm_core.models.loading import LoadedModel
from llm_core.models.prompts import encode_turns
from llm_core.runtime import json_lines
from llm_core.runtime.progress import task as progress_task

Row = dict[str, Any]


def read_questions(file: Path) -> list[Row]:
    """Rows of a file of questions. Raises UserError at a line that is no conversation ending in an answer, or whose id
    another line has."""
    rows = []
    seen: dict[str, int] = {}
    for number, row in json_lines.read_rows(file):
        try:
            assert len(row["messages"]) > 1 and row["messages"][-1]["role"] == "assistant"
            assert all(isinstance(turn["content"], str) for turn in row["messages"])
        except (KeyError, IndexError, TypeError, AssertionError):
            raise UserError(f"{file}:{number}: needs `messages` that end with the assistant's answer") from None
        if "id" in row and (first := seen.setdefault(str(row["id"]), number)) != number:
            raise UserError(f"{file}:{number}: the id {row['id']!r} is that of line {first} already")
        rows.append(row)
    return rows


def answer_questions(
    network: Any,
    tokenizer: Any,
    file: Path,
    limit: int | None,
    max_new: int,
    batch: int,
    journal: Journal | None = None,
) -> list[Row]:
    """One row a question: exact_match 0 or 1, the answer given and the one wanted, and the baseline's match.

    `journal` has the batches of a run that was stopped.
    """
    questions = read_questions(file)
    if not questions:
        raise UserError(f"{file}: holds no questions")
    questions = [questions[place] for place in spread(len(questions), limit)]
    guesses = most_frequent(file.with_name("train.jsonl"))
    kind = kind_of(network.config)
    prompts = [encode_turns(tokenizer, row["messages"][:-1], kind) for row in questions]
    order = sorted(range(len(prompts)), key=lambda place: len(prompts[place]))
    given: dict[int, str] = {}
    remembered = journal or Journal()
    with progress_task("answers", total=len(prompts), unit="questions") as work:
        for start in range(0, len(order), batch):
            places = order[start : start + batch]
            asked = [prompts[place] for place in places]
            texts = remembered.value(
                "answers", [asked, max_new], partial(generate, network, tokenizer, asked, max_new, batch)
            )
            given |= dict(zip(places, texts, strict=True))
            work.update(len(places))
    rows = []
    for place, row in enumerate(questions):
        wanted = row["messages"][-1]["content"]
        guess = guesses.get(row.get("field", ""), guesses.get("", ""))
        rows.append(
            {
                "task": "exact_match",
                "id": str(row.get("id", place)),
                "exact_match": float(normalize(given[place]) == normalize(wanted)),
                "most_frequent": float(bool(guess) and normalize(guess) == normalize(wanted)),
                "question": row["messages"][-2]["content"],
                "given": given[place],
                "wanted": wanted,
            }
        )
        rows[-1] |= {name: row[name] for name in ("kind", "answerable") if name in row}
        if (group := group_of(row)) is not None:
            rows[-1][GROUP] = group
    return rows


def summarize_answers(rows: list[Row]) -> dict[str, Any]:
    """Exact match with its error and 95 % interval, the most-frequent-answer baseline and the lead over it, the number
    of questions; under `kinds` the same for each kind of question, where there are several.

    Questions that cannot be answered are left out, except in the figures of a kind that has no others; these say so by
    `answerable: False`.
    """
    kinds = kinds_of_rows(rows)
    parts = {kind: summarize_answers([_kindless(row) for row in rows if kind_of_row(row) == kind]) for kind in kinds}
    can = [row for row in rows if row.get("answerable", True)]
    guessed, rows = not can, can or rows
    matches = [row["exact_match"] for row in rows]
    baseline, _ = mean_and_error([row["most_frequent"] for row in rows])
    leads = [row["exact_match"] - row["most_frequent"] for row in rows]
    known = groups_of(rows)
    found = clustered(leads, known or [str(row["id"]) for row in rows])
    return {
        **scored(matches, "exact_match", known),
        "most_frequent_answer": baseline,
        **dict(zip(("lead", "lead_low", "lead_high"), found, strict=True)),
        "detectable": detectable_difference(matches, known),
        "items": len(rows),
        **({"answerable": False} if guessed else {}),
        **({"kinds": parts} if len(parts) > 1 else {}),
    }


def _kindless(row: Row) -> Row:
    return {key: value for key, value in row.items() if key != "kind"}


def most_frequent(train: Path) -> dict[str, str]:
    """field -> its most frequent answer in a training file ("" for all fields together); {} without one."""
    if not train.is_file():
        return {}
    counts: dict[str, Counter[str]] = {}
    for row in read_questions(train):
        for field in {row.get("field", ""), ""}:
            counts.setdefault(field, Counter())[row["messages"][-1]["content"]] += 1
    return {field: min(count.items(), key=lambda item: (-item[1], item[0]))[0] for field, count in counts.items()}


def generate(network: Any, tokenizer: Any, prompts: list[list[int]], max_new: int, batch: int = 1) -> list[str]:
    """Greedy continuations of prompts (token ids); a prompt too long for the context keeps its end."""
    how = Decoding(max_new, too_long="cut")
    found = generation.generate(LoadedModel.of(network, tokenizer), prompts, how, batch)
    return [one.text.strip() for one in found]
