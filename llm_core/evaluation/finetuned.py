"""The evaluation of a finetuned model on its own test rows: the score that `finetune` measured for each of them.

`finetune` measures the exported model and writes `test_items.jsonl` beside it: id and score of each test row. The
evaluation takes these rows as they are, so that models of one finetune are compared row by row by the registry's gate,
whatever the method is. Rows of one group depend on each other, and keep its name. Baselines come from the model's
metrics.json.
"""

from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.evaluation.results import COUNTRY, GROUP, groups_of
from llm_core.evaluation.statistics import detectable_difference, scored
from llm_core.runtime import json_lines
from llm_core.runtime.storage import read_json

TESTED = "test_items.jsonl"
"""In the folder of a finetuned model: `id`, the method's score, and `group` where it is known, of each test row."""
TOPS = {"sentence_chrF": 100.0}
"""Value of a right row, of scores that are no share."""
Row = dict[str, Any]


def read_tested(model: Path) -> tuple[str, list[Row]] | None:
    """(name of the score, a row `task, id, SCORE, group` a test row); None where the model has no such file."""
    file = model / TESTED
    if not file.is_file():
        return None
    rows = json_lines.load_rows(file)
    names = {name for row in rows for name in row if name not in ("id", GROUP, COUNTRY)}
    if len(names) != 1 or not all("id" in row for row in rows):
        raise UserError(f"{file}: each row needs `id` and one score; finetune the model again")
    (score,) = names
    return score, [{"task": score, **row} for row in rows]


def summarize_tested(model: Path, score: str, rows: list[Row]) -> dict[str, Any]:
    """The mean score with its error and 95 % interval, the baselines on the same rows, the number of rows."""
    values, groups, top = [float(row[score]) for row in rows], groups_of(rows), TOPS.get(score, 1.0)
    known = read_json(model / "metrics.json")
    return {
        "finetune": known.get("run", known["method"]),
        "method": known["method"],
        "score": score,
        **scored(values, score, groups, top),
        "baselines": dict(_baselines(known.get("baseline", {}), score)),
        "detectable": detectable_difference(values, groups, top),
        "items": len(rows),
    }


def _baselines(found: dict[str, Any], score: str) -> list[tuple[str, float]]:
    """Name and value of each baseline that has this score: a number, a mean, or figures of which one is the score."""
    values = []
    for name, value in found.items():
        if isinstance(value, dict):
            value = value.get("mean", value.get(score))
        if isinstance(value, dict):
            value = value.get("mean", value.get("value"))
        if isinstance(value, int | float):
            values.append((name, float(value)))
    return values
