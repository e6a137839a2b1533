"""A bound on the time of one document: a document that takes longer is quarantined, and the stage goes on.

Every step is linear in a document (benchmarks/adversarial.py), and a document above `cleaning.max_document_bytes` is
quarantined without being read, so that only faults reach the bound: a library that hangs on one text. Such a call often
holds Python's global lock and ignores signals. Therefore documents are processed in a worker process, and a timer
written in C (`faulthandler`) ends that process when the time is over; the pool starts another one, and the piece begins
again.
After the first timeout only the batch is known. In the next attempt its documents go through one by one, each with its
own time, and one that uses it up is dropped as `quarantine_time` in the attempt after that. What is known so far is in
two small files beside the scratch folders. The trade-off: time is not deterministic, so the default is generous, and a
document close to it may be kept on one machine and quarantined on another; the ledger names it.
"""

import faulthandler
import json
from collections.abc import Iterator
from pathlib import Path

from llm_core.corpus.cleaning.batch import Batch

REASON = "quarantine_time"


class TimeBound:
    """The timer of one piece of work. `folder` is the scratch folder, `number` the piece's."""

    def __init__(self, folder: Path, number: int, seconds: float) -> None:
        self.seconds = seconds
        self._state, self._fired = folder / f"{number:06d}.json", folder / f"{number:06d}.fired"
        known = json.loads(self._state.read_text()) if self._state.is_file() else {"careful": [], "slow": []}
        self.careful: list[int] = known["careful"]
        self.slow: list[list[int]] = known["slow"]
        if self.fired(folder, number):
            batch, row = known["at"]
            (self.careful if row is None else self.slow).append(batch if row is None else [batch, row])

    @staticmethod
    def fired(folder: Path, number: int) -> bool:
        """Whether the last attempt at a piece timed out."""
        file = folder / f"{number:06d}.fired"
        return file.is_file() and file.stat().st_size > 0

    def watch(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches; the timer runs while the caller works on each."""
        self._state.parent.mkdir(parents=True, exist_ok=True)
        row: int | None
        with open(self._fired, "w") as stream:  # empty again; faulthandler writes where the process was
            for number, batch in enumerate(batches):
                for row in list(batch.alive()) if number in self.careful else ():
                    if [number, row] in self.slow:
                        batch.drop(row, REASON, self.seconds)
                for row, part in self._parts(number, batch):
                    self._state.write_text(
                        json.dumps({"careful": self.careful, "slow": self.slow, "at": [number, row]})
                    )
                    faulthandler.dump_traceback_later(self.seconds, exit=True, file=stream)
                    try:
                        yield part
                    finally:
                        faulthandler.cancel_dump_traceback_later()

    def _parts(self, number: int, batch: Batch) -> Iterator[tuple[int | None, Batch]]:
        """The batch as a whole, or document by document where it ran out of time before."""
        if number not in self.careful:
            yield None, batch
            return
        for row in range(len(batch)):
            yield row, batch.single(row)
