"""The training log: one JSON row per logged step, cut back to the checkpoint when a run resumes."""

from pathlib import Path
from typing import Any

from llm_core.runtime import json_lines
from llm_core.runtime.storage import finite

SPIKE = "spike"  # key of a row about an unusual step; the value is the figure that is far above its median


class RunLog:
    """Rows of `file`; only the main rank writes. There are no wall-clock times, because the log is a stage output."""

    def __init__(self, file: Path, main: bool) -> None:
        self.file, self.main = file, main

    def resume(self, step: int) -> None:
        """Remove the rows after `step` steps, which will be trained again."""
        if self.main and self.file.exists():
            rows = [row for row in self.rows() if row["step"] <= step]
            json_lines.write_rows(self.file, rows)

    def write(self, row: dict[str, Any]) -> None:
        """Append a row; a number that is not finite, as the gradient norm of a skipped step may be, becomes null."""
        if self.main:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with open(self.file, "a", encoding="utf-8") as stream:
                stream.write(json_lines.dump(finite(row)))

    def rows(self) -> list[dict[str, Any]]:
        """All rows; a line cut short by a kill is dropped."""
        return json_lines.load_rows(self.file, missing_ok=True, cut_short=True)


def spike_rows(log: Path, model: Path) -> list[dict[str, str]]:
    """The unusual steps in the training log of `model`, one row each: what is far above the steps before it, the
    documents that raise the loss most, and the command that lists all documents of the step."""
    rows: dict[int, dict[str, str]] = {}
    for row in json_lines.load_rows(log, missing_ok=True):
        if SPIKE not in row:
            continue
        what = f"{row[SPIKE].replace('_', ' ')} {row['value']:.4g} (usually {row['median']:.4g})"
        if row["step"] in rows:
            rows[row["step"]]["unusual"] += f", {what}"
            continue
        named = (f"{one['id']} ({one['source']}, loss {one['loss']:.4g})" for one in row["documents"])
        rows[row["step"]] = {
            "step": str(row["step"]),
            "unusual": what + (", update skipped" if row["skipped"] else ""),
            "documents that raise the loss most": ", ".join(named),
            "all documents": f"llm-core documents --model {model} --steps {row['step'] - 1}",
        }
    return list(rows.values())
