"""The batch: documents on their way through the steps, with what was decided about each.

Steps are called one after the other on the same batch. They look only at documents that are still alive,
and report through `drop` and `change`; the ledger is written from these reports.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from llm_core.formats.documents import SCHEMA
from llm_core.formats.ledger import Row
from llm_core.formats.schema import read_metadata, without_secrets


class Step(Protocol):
    """One step of cleaning: judges or changes the documents of a batch in place."""

    def __call__(self, batch: "Batch") -> None:
        """Judge the batch's living documents."""


@dataclass
class Batch:
    """Documents as columns of plain Python values, row by row the same length."""

    ids: list[str]
    sources: list[str]
    urls: list[str | None]
    texts: list[str]
    languages: list[str | None]
    licenses: list[str | None]
    created: list[str | None]
    metadata: list[str | None]
    shard: str = ""
    offsets: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)  # UTF-8 bytes of the texts as they came in
    reasons: dict[int, str] = field(default_factory=dict)  # row -> why it was dropped
    scores: dict[int, float] = field(default_factory=dict)  # row -> figure of the rule that decided
    tallies: Counter[tuple[str, str]] = field(default_factory=Counter)  # (source, name) -> counts that the steps keep
    changes: dict[int, list[str]] = field(default_factory=dict)  # row -> names of the steps that changed it

    def __post_init__(self) -> None:
        self.offsets = self.offsets or list(range(len(self.ids)))
        self.sizes = self.sizes or [len(text.encode("utf-8", "surrogatepass")) for text in self.texts]

    def __len__(self) -> int:
        return len(self.ids)

    def single(self, row: int) -> "Batch":
        """A batch of one of the documents, with what was decided about it."""
        here = slice(row, row + 1)
        return Batch(
            self.ids[here],
            self.sources[here],
            self.urls[here],
            self.texts[here],
            self.languages[here],
            self.licenses[here],
            self.created[here],
            self.metadata[here],
            self.shard,
            self.offsets[here],
            self.sizes[here],
            reasons={0: self.reasons[row]} if row in self.reasons else {},
            scores={0: self.scores[row]} if row in self.scores else {},
            changes={0: self.changes[row]} if row in self.changes else {},
        )

    def alive(self) -> Iterator[int]:
        """Rows of the documents that no step has dropped."""
        return (row for row in range(len(self.ids)) if row not in self.reasons)

    def drop(self, row: int, reason: str, score: float | None = None) -> None:
        """Drop a document for a named reason; `score` is what the rule measured."""
        self.reasons[row] = reason
        if score is not None:
            self.scores[row] = float(score)
        else:
            self.scores.pop(row, None)

    def change(self, row: int, text: str, step: str) -> None:
        """Give a document another text."""
        self.texts[row] = text
        self.changes.setdefault(row, []).append(step)

    def update_metadata(self, row: int, **values: Any) -> None:
        """Set fields of a document's metadata."""
        known = self.read_metadata(row) or ({"metadata": self.metadata[row]} if self.metadata[row] else {})
        self.metadata[row] = json.dumps({**known, **values}, sort_keys=True, ensure_ascii=True)

    def read_metadata(self, row: int) -> dict[str, Any]:
        """A document's metadata as a dictionary, {} where there is none or it is no JSON object."""
        return read_metadata(self.metadata[row])

    def kept(self) -> pa.RecordBatch:
        """The living documents as a record batch of the documents' schema."""
        rows = list(self.alive())
        columns: list[list[Any]] = [
            self.ids,
            self.sources,
            self.urls,
            self.texts,
            self.languages,
            self.licenses,
            self.created,
            self.metadata,
        ]
        arrays = [
            pa.array([column[row] for row in rows], column_field.type)
            for column, column_field in zip(columns, SCHEMA, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)

    def verdicts(self) -> list[Row]:
        """A ledger row for every document, dropped ones too."""
        rows: list[Row] = []
        for row, name in enumerate(self.ids):
            changes = self.changes.get(row)
            reason = self.reasons.get(row)
            rows.append(
                {
                    "id": name,
                    "source": self.sources[row],
                    "verdict": "dropped" if reason else "changed" if changes else "kept",
                    "reason": reason or (changes[0] if changes else None),
                    "score": self.scores.get(row),
                    "bytes": self.sizes[row],
                    "detail": ",".join(changes) if changes else None,
                    "shard": self.shard,
                    "offset": self.offsets[row],
                }
            )
        return rows


def from_arrow(batch: pa.RecordBatch, shard: str, start: int) -> Batch:
    """A batch of the documents' schema, `start` being its first row's place in `shard`.

    Text that is not valid UTF-8 (Parquet does not check it) has its bad bytes replaced by U+FFFD, which the ledger
    says.
    """
    changes: dict[int, list[str]] = {}
    columns: list[list[Any]] = []
    for column in SCHEMA:
        array = batch.column(column.name)
        try:
            columns.append(array.to_pylist())
        except UnicodeDecodeError:
            binary = array.cast(pa.large_binary())
            columns.append(
                [None if value is None else value.decode("utf-8", "replace") for value in binary.to_pylist()]
            )
            for row, value in enumerate(binary.to_pylist()):
                if value is not None and value.decode("utf-8", "replace").encode() != value:
                    changes.setdefault(row, []).append("invalid_utf8")
    return from_columns(columns, shard, list(range(start, start + batch.num_rows)), changes)


def from_columns(
    columns: list[list[Any]], shard: str, offsets: list[int], changes: dict[int, list[str]] | None = None
) -> Batch:
    """A batch of the documents' schema's columns, in its order; a missing text counts as an empty one.

    Passwords and tokens in addresses are left out: documents may come from a file that `fetch` did not write.
    """
    ids, sources, urls, texts, languages, licenses, created, metadata = columns
    for row, (url, facts) in enumerate(zip(urls, metadata, strict=True)):
        urls[row], metadata[row] = without_secrets(url, facts)
    texts = [text or "" for text in texts]
    return Batch(
        ids, sources, urls, texts, languages, licenses, created, metadata, shard, offsets, changes=changes or {}
    )
