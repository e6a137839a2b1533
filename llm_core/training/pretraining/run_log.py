"""The training log: one JSON row per logged step, cut back to the checkpoint when a run resumes."""

from pathlib import Path
from typing import Any

from llm_core.runtime import json_lines


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
        """Append a row."""
        if self.main:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with open(self.file, "a", encoding="utf-8") as stream:
                stream.write(json_lines.dump(row))

    def rows(self) -> list[dict[str, Any]]:
        """All rows; a line cut short by a kill is dropped."""
        return json_lines.load_rows(self.file, missing_ok=True, cut_short=True)
