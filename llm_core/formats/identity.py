"""An id names one document: the check that no id appears twice in what a stage read.

Of each id a 64-bit hash is kept in a file that is mapped into memory, and sorted at the end: 8 bytes a document, none
of them in the process's own memory. Only where two hashes are equal are the ids themselves looked at again.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from llm_core.errors import UserError
from llm_core.formats.disk_columns import ROWS_AT_ONCE, Column
from llm_core.formats.documents import Paths, read_numbered_batches

Place = tuple[str, str]
"""an id, and where it was read (file and row)"""


class Identities:
    """The ids that a stage has met so far; the hashes are Python's, so they compare within one process only."""

    def __init__(self, folder: Path) -> None:
        self._hashes = Column(folder, np.int64)

    def add(self, ids: pa.Array) -> None:
        """Note the ids (string [n]) of some documents."""
        names = ids.to_pylist()
        self._hashes.append(np.fromiter(map(hash, names), np.int64, len(names)))

    def require_unique(self, places: Iterator[Place], what: str) -> None:
        """Raise UserError, with the id and both places, where an id appears twice.

        `places` are all ids again, in order; they are read only where two hashes are equal. `what` names the stage.
        """
        suspects = self._repeated()
        if not suspects:
            return
        first: dict[str, str] = {}
        told, repeated = "", 0
        for name, place in places:
            if hash(name) in suspects:
                if name in first:
                    told = told or f"the id '{name}' is in {first[name]} and again in {place}"
                    repeated += 1
                else:
                    first[name] = place
        if told:
            more = f" ({repeated} documents repeat an id)" if repeated > 1 else ""
            raise UserError(f"{what}: {told}{more}; an id must name one document: give each source ids of its own")

    def _repeated(self) -> frozenset[int]:
        values = self._hashes.values
        values.sort()  # in place, in the mapped file
        found: list[int] = []
        for start in range(0, len(values) - 1, ROWS_AT_ONCE):
            here = values[start : start + ROWS_AT_ONCE + 1]
            found += here[1:][here[1:] == here[:-1]].tolist()
        return frozenset(found)


def id_places(paths: Paths) -> Iterator[Place]:
    """Every document's id at `paths`, with its file and row (from 0)."""
    for file, offset, batch in read_numbered_batches(paths, ["id"]):
        for row, name in enumerate(batch.column("id").to_pylist()):
            yield name, f"{file}, row {offset + row}"
