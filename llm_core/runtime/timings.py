"""How long each verb took: a run log outside every stage's output, because outputs hold no clocks.

`.scratch/timings.jsonl` in the project's folder has one row for each verb that wrote an `--out` or `--out-file`:
wall seconds, CPU seconds (children included), peak memory and the id of its MLflow run. `dvc.lock` keeps
no times; the report and `plan` read them here.
"""

import itertools
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llm_core.runtime import json_lines

FILE = Path(".scratch/timings.jsonl")
INNER = ("mlflow_run_id", "mlflow_experiment_id", "pace")
NOTES: dict[str, Any] = {}
"""What this process adds to its row: the id of the MLflow run that it opened, the pace of its training."""


def record(verb: str, arguments: Sequence[str], started: float, failed: bool) -> None:
    """Append a row; `started` is time.monotonic() at the start.

    Nothing happens outside a project, or where the verb writes no output.
    """
    places = [value for name, value in itertools.pairwise(arguments) if name in ("--out", "--out-file")]
    if not places or not Path("dvc.yaml").is_file() or os.environ.get("RANK", "0") != "0":
        return
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    scale = 1 if sys.platform == "darwin" else 1024
    row = {
        "verb": verb,
        "stage": os.environ.get("DVC_STAGE"),
        "failed": failed,
        "out": places[0],
        "seconds": round(time.monotonic() - started, 3),
        "cpu_seconds": round(sum(usage.ru_utime + usage.ru_stime for usage in used), 3),
        "peak_bytes": max(usage.ru_maxrss for usage in used) * scale,
        "ended": int(time.time()),
        **(NOTES or _notes_of_inner(verb, places[0], started)),
    }
    FILE.parent.mkdir(exist_ok=True)
    with open(FILE, "a", encoding="utf-8") as stream:
        stream.write(json_lines.dump(row))


def note_pace(param: str, steps: int, seconds: float) -> None:
    """Note how many steps a training did in how many seconds; `param` sets their number (whole name, or its end)."""
    NOTES["pace"] = {"param": param, "steps": steps, "seconds": round(seconds, 3)}


def _notes_of_inner(verb: str, out: str, started: float) -> dict[str, Any]:
    """What the training process that this verb started has noted: its row is older, and `last` shows the newest."""
    began = int(time.time() - (time.monotonic() - started))
    rows = [row for row in last() if (row["verb"], row["out"]) == (verb, out) and row.get("ended", 0) >= began]
    return {key: row[key] for row in rows for key in INNER if key in row}


def last(file: Path = FILE) -> list[dict[str, Any]]:
    """The newest row of each verb and output, in the order in which they ended."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for row in json_lines.load_rows(file, missing_ok=True, cut_short=True):
        if {"verb", "out", "failed"} <= row.keys() and not row["failed"]:
            rows.pop((row["verb"], row["out"]), None)
            rows[row["verb"], row["out"]] = row
    return list(rows.values())
