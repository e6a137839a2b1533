"""How often an agent solves tasks whose answers are known, and why the other runs ended."""

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llm_core.evaluation.statistics import interval
from llm_core.retrieval.agent.loop import Transcript
from llm_core.retrieval.agent.tasks import Task
from llm_core.runtime import json_lines, progress
from llm_core.runtime.storage import output_folder, write_json


def measure(tasks: list[Task], attempt: Callable[[str], Transcript], out: Path | None = None) -> dict[str, Any]:
    """Success by kind of task, with 95 % intervals; with `out`, metrics.json and transcripts.jsonl."""
    rows = []
    with progress.task("agent", total=len(tasks), unit="tasks") as work:
        for task in tasks:
            found = attempt(task.question)
            rows.append({**asdict(task), "solved": task.solved(found.answer), **asdict(found)})
            work.update()
    scores: dict[str, Any] = {}
    for kind in [*dict.fromkeys(task.kind for task in tasks), "all"]:
        solved = [row["solved"] for row in rows if kind in (row["kind"], "all")]
        low, high = interval([float(right) for right in solved])
        scores[kind] = {
            "tasks": len(solved), "solved": sum(solved), "rate": round(sum(solved) / len(solved), 4),
            "low": round(low, 4), "high": round(high, 4),
        }  # fmt: skip
    scores["ended"] = dict(sorted(Counter(row["ended"].split(":")[0] for row in rows).items()))
    if out is not None:
        with output_folder(out) as partial:
            write_json(partial / "metrics.json", scores)
            json_lines.write_rows(partial / "transcripts.jsonl", rows)
    return scores
