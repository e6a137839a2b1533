"""What an evaluation has computed so far, so that a killed one goes on where it was.

A unit is one forward pass or one generated batch, which depends on nothing but its own input. Its key is a hash of
that input, and its value is written as a line as soon as it is known. A second run makes the same units, takes those
that it finds and computes the others: the results are the same bytes as without the kill. A unit whose line the kill
cut short is computed again.

The file is named by what decides a value beside the input (model, precision, threads, versions of the libraries) and is
removed when the evaluation is complete.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from llm_core.runtime import json_lines
from llm_core.runtime.digests import short_hash
from llm_core.runtime.progress import log

SCRATCH = Path(".scratch/evaluation")


class Journal:
    """Values by the hash of their input; `Journal()` remembers nothing."""

    def __init__(self, *identity: str) -> None:
        """`identity`: what decides the values beside their input. Without it nothing is written or read."""
        self.file = SCRATCH / f"{short_hash(*identity)}.jsonl" if identity else None
        self._known: dict[str, Any] = {}
        self._stream: TextIO | None = None
        if self.file is None:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        for row in json_lines.load_rows(self.file, missing_ok=True, cut_short=True):
            self._known[row["key"]] = row["value"]
        if self._known:
            log(f"evaluate: {len(self._known)} batches were computed by an earlier run that was stopped")
        self._stream = open(self.file, "a", encoding="utf-8")  # noqa: SIM115 - until the evaluation is complete
        if self.file.stat().st_size:
            self._stream.write("\n")  # ends a line that was cut short

    def value(self, what: str, given: Any, compute: Callable[[], Any]) -> Any:
        """`compute()`, or what it gave for the same `given` before. `what` names the kind of unit; both are JSON."""
        if self._stream is None:
            return compute()
        key = short_hash(what, json.dumps(given, sort_keys=True))
        if key not in self._known:
            self._known[key] = compute()
            self._stream.write(json_lines.dump({"key": key, "value": self._known[key]}))
            self._stream.flush()
        return self._known[key]

    def finish(self) -> None:
        """The evaluation is complete: nothing is left of the journal."""
        if self._stream and self.file:
            self._stream.close()
            self.file.unlink(missing_ok=True)
