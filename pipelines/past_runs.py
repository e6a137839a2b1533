"""The time that a stage's next run will take, from its past runs here (`.scratch/timings.jsonl`).

A training notes in its row how many steps it did in how many seconds, and the param that sets their number. The part of
the row that went to steps is taken for as many steps as that param asks for now; the rest (start, measurements, export)
stays as it was. So a run of 30 steps is expected to take less than the one of 320 before it.
"""

import statistics
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from llm_core.runtime import json_lines
from llm_core.runtime.timings import FILE as TIMINGS

Times = tuple[float, float]
"""wall and CPU seconds"""


def usual_times(root: Path, stage: str, params: Callable[[], Mapping[str, Any]]) -> Times | None:
    """The median of a stage's past runs as they would be with the present params, flattened; None without a past run.

    `params` is asked only where a past run depends on them.
    """
    file = root / TIMINGS
    rows = _rows(file, file.stat().st_mtime_ns).get(stage) if file.is_file() else None
    if not rows:
        return None
    now = params() if any("pace" in row for row in rows) else {}
    times = [_times(row, now) for row in rows]
    return statistics.median(wall for wall, _ in times), statistics.median(cpu for _, cpu in times)


def _times(row: Mapping[str, Any], params: Mapping[str, Any]) -> Times:
    wall = float(row["seconds"])
    cpu = float(row.get("cpu_seconds") or wall)
    pace = row.get("pace") or {}
    name = str(pace.get("param"))
    steps = next((value for key, value in params.items() if f".{key}".endswith(f".{name}")), None)
    if not pace.get("steps") or not isinstance(steps, int | float) or not wall:
        return wall, cpu
    expected = wall - pace["seconds"] + pace["seconds"] / pace["steps"] * steps
    return expected, cpu * expected / wall


@lru_cache(maxsize=1)  # called for each asset when the code location loads
def _rows(file: Path, changed: int) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in json_lines.load_rows(file, cut_short=True):
        if row.get("stage") and not row.get("failed"):
            found.setdefault(str(row["stage"]), []).append(row)
    return found
