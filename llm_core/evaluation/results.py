"""An evaluation's results.jsonl, read back."""

import json
from pathlib import Path
from typing import Any

from llm_core.errors import UserError

Row = dict[str, Any]


def read_results(folder: Path) -> dict[str, list[Row]]:
    """The rows of an evaluation's results.jsonl, by task. Raises UserError where `folder` holds none."""
    file = folder / "results.jsonl"
    if not file.is_file():
        raise UserError(f"{folder}: holds no results.jsonl; give a folder that `llm-core evaluate` wrote")
    tasks: dict[str, list[Row]] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        tasks.setdefault(row["task"], []).append(row)
    return tasks
