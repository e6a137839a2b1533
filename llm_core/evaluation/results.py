"""An evaluation's results.jsonl, read back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.runtime import json_lines

Row = dict[str, Any]
GROUP = "group"
"""Of a row: what its dependence comes from, such as the country or the document that it is about."""
COUNTRY = "country"
"""The Factbook's groups, by which rows of earlier versions name theirs, too."""


def read_results(folder: Path) -> dict[str, list[Row]]:
    """The rows of an evaluation's results.jsonl, by task. Raises UserError where `folder` holds none."""
    file = folder / "results.jsonl"
    if not file.is_file():
        raise UserError(f"{folder}: holds no results.jsonl; give a folder that `llm-core evaluate` wrote")
    tasks: dict[str, list[Row]] = {}
    for row in json_lines.load_rows(file):
        tasks.setdefault(row["task"], []).append(row)
    return tasks


def evaluations(recipe: str) -> list[Path]:
    """The folders of evaluations between commas, as an argument names them. Raises UserError for an empty name."""
    names = recipe.split(",")
    if not all(names):
        raise UserError(f"'{recipe}': a folder's name before or behind a comma is missing")
    return [Path(name) for name in names]


def require_different(evaluations: Sequence[Path]) -> None:
    """Raise UserError where an evaluation is given twice: it would count as two trainings that do not differ at all."""
    seen: set[Path] = set()
    for folder in evaluations:
        if folder.resolve() in seen:
            raise UserError(
                f"{folder}: is given twice; each folder is the evaluation of another training or checkpoint"
            )
        seen.add(folder.resolve())


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


def group_of(row: Row) -> str | None:
    """The group of a row; None where none is known."""
    known = row.get(GROUP, row.get(COUNTRY))
    return None if known is None else str(known)


def groups_of(rows: Sequence[Row]) -> list[str] | None:
    """The group of each row, or the row itself where none is known, since the rows of one group depend on each other.
    None where no row has a group."""
    known = [group_of(row) for row in rows]
    if not any(name is not None for name in known):
        return None
    return [f"row {at}" if name is None else name for at, name in enumerate(known)]


def kind_of_row(row: Row) -> str:
    """The kind of a row; "" where it has none, or null in its place."""
    kind = row.get("kind")
    return "" if kind is None else str(kind)


def kinds_of_rows(rows: Sequence[Row]) -> list[str]:
    """The kinds that rows have, sorted."""
    return sorted({kind_of_row(row) for row in rows} - {""})


def by_kind(answers: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Kind of question ("" for all that can be answered) -> its figures, of what `summarize_answers` gives.

    A kind that alone can be answered takes the place of all. Where none can, "" has all guesses; figures of guesses
    have `answerable: False`.
    """
    kinds = answers.get("kinds", {})
    can = [kind for kind, score in kinds.items() if score.get("answerable", True)]
    alone = {can[0]: kinds[can[0]]} if len(can) == 1 else {"": answers}
    return alone | kinds
