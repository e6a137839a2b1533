"""Tombstones: documents that must leave, by id, URL, domain or text.

`takedowns.jsonl` is an input of the graph, kept in git: one JSON object a line with exactly
one of `id`, `url`, `domain`, `text_hash`, and a `reason`. Deduplication drops what matches
before it looks for clusters, so that a document which a removed one stood for gets its
place, as if the removed one had never been. A text hash also stops the same text when a
later crawl brings it under another id. Taking a line out brings the first bytes back.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from llm_core.errors import UserError
from llm_core.runtime import json_lines
from llm_core.runtime.storage import output_file

FILE = "takedowns.jsonl"
KINDS = ("id", "url", "domain", "text_hash")
SPACE = re.compile(r"\s+")


def text_hash(text: str) -> str:
    """MD5 of the text with runs of white space folded to one space and the ends trimmed."""
    folded = SPACE.sub(" ", text).strip()
    return hashlib.md5(folded.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


@dataclass
class Takedowns:
    """The tombstones of a file, ready to be held against documents."""

    values: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in KINDS})

    def __bool__(self) -> bool:
        return any(self.values.values())

    def match(self, batch: pa.RecordBatch) -> list[str | None]:
        """For each document of a batch (`id`, `url`, `text`) the kind of tombstone that names it, or None."""
        matched: list[str | None] = [None] * batch.num_rows
        for kind in KINDS:
            wanted = self.values[kind]
            if wanted:
                for row, value in enumerate(self._keys(kind, batch)):
                    if matched[row] is None and not wanted.isdisjoint(value):
                        matched[row] = kind
        return matched

    @staticmethod
    def _keys(kind: str, batch: pa.RecordBatch) -> Iterable[list[str]]:
        if kind == "text_hash":
            return ([text_hash(text)] for text in batch.column("text").to_pylist())
        if kind == "domain":
            return (_domains(url) for url in batch.column("url").to_pylist())
        return ([value] if value else [] for value in batch.column(kind).to_pylist())


def load(path: str | Path) -> Takedowns:
    """Read a tombstone file; a missing file holds none.

    Raises UserError, with file and line, for a line that is not a tombstone.
    """
    found = Takedowns()
    for number, row in enumerate(read_rows(path), start=1):
        named = [kind for kind in KINDS if row.get(kind)]
        if len(named) != 1 or not row.get("reason"):
            raise UserError(f"{path}:{number}: a tombstone needs one of {', '.join(KINDS)}, and a reason")
        found.values[named[0]].add(row[named[0]].lower() if named[0] == "domain" else row[named[0]])
    return found


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The file's lines as dictionaries; [] where there is no file."""
    return json_lines.load_rows(path, missing_ok=True)


def write_rows(path: str | Path, rows: list[dict[str, Any]]) -> None:
    """Write tombstones, one a line, sorted, so that the file does not depend on the order of requests."""
    with output_file(path) as stream:
        stream.writelines(sorted({json_lines.dump(row, sort_keys=True) for row in rows}))


def _domains(url: str | None) -> list[str]:
    """The host of a URL and every domain above it: a.b.org -> a.b.org, b.org, org."""
    try:
        host = (urlsplit(url or "").hostname or "").lower()
    except ValueError:
        return []
    parts = host.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))] if host else []
