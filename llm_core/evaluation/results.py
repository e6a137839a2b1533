"""An evaluation's results.jsonl, read back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.runtime import json_lines

Row = dict[str, Any]
GROUP = "country"  # of own questions


def read_results(folder: Path) -> dict[str, list[Row]]:
    """The rows of an evaluation's results.jsonl, by task. Raises UserError where `folder` holds none."""
    file = folder / "results.jsonl"
    if not file.is_file():
        raise UserError(f"{folder}: holds no results.jsonl; give a folder that `llm-core evaluate` wrote")
    tasks: dict[str, list[Row]] = {}
    for row in json_lines.load_rows(file):
        tasks.setdefault(row["task"], []).append(row)
    return tasks


def average(results: list[dict[str, list[Row]]]) -> dict[str, list[Row]]:
    """Several evaluations as one: each number is the mean over those rows of an item that all of them have."""
    if len(results) == 1:
        return results[0]
    averaged: dict[str, list[Row]] = {}
    for task, rows in results[0].items():
        others = [{_key(row): row for row in one.get(task, [])} for one in results[1:]]
        for row in rows:
            if all(_key(row) in other for other in others):
                group = [row, *(other[_key(row)] for other in others)]
                averaged.setdefault(task, []).append(
                    {
                        key: _mean([each[key] for each in group]) if isinstance(value, float) else value
                        for key, value in row.items()
                    }
                )
    return averaged


def _mean(values: list[float | None]) -> float | None:
    """The mean; None where one of the evaluations has no number."""
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(values) if len(numbers) == len(values) else None


def _key(row: Row) -> tuple[Any, ...]:
    return row.get("source"), row["id"]


def groups_of(rows: Sequence[Row]) -> list[str] | None:
    """The group of each of a model's own questions: its country, or itself where none is known, since the questions
    about one country depend on each other. None where no question has a country."""
    if not any(GROUP in row for row in rows):
        return None
    return [str(row.get(GROUP, row["id"])) for row in rows]


def by_kind(answers: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Kind of question ("" for all that can be answered) -> its figures, of what `summarize_answers` gives.

    A kind that alone can be answered takes the place of all. Where none can, "" has all guesses; figures of guesses
    have `answerable: False`.
    """
    kinds = answers.get("kinds", {})
    can = [kind for kind, score in kinds.items() if score.get("answerable", True)]
    alone = {can[0]: kinds[can[0]]} if len(can) == 1 else {"": answers}
    return alone | kinds
