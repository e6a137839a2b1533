"""Tombstones: documents that must be removed, by id, URL, domain or text.

`takedowns.jsonl` is an input of the graph, kept in git: one JSON object a line with exactly
one of `id`, `url`, `domain`, `text_hash`, and a `reason`. Deduplication drops what matches
before it looks for clusters, so that a duplicate of a removed document takes its place,
as if the removed one had never existed. Removing the line restores the first bytes.

A takedown must hold when a later crawl brings the text under another id. So a tombstone that names an id also carries
the hash of its text and its sketch (`llm_core.corpus.similarity.sketch`), as `llm-core takedown --apply` writes them:
the same text is removed, and so is a lightly edited one (`SIMILARITY`).
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from llm_core.corpus.similarity import sketch
from llm_core.errors import UserError
from llm_core.formats.urls import domains_of, host_of, parse, plain_url
from llm_core.kernels.arrays import Hashes
from llm_core.runtime import json_lines
from llm_core.runtime.storage import output_file

FILE = "takedowns.jsonl"
KINDS = ("id", "url", "domain", "text_hash")
NEAR = "near_duplicate"
MATCHES = (*KINDS, NEAR)
"""how a tombstone can match a document, in the order in which the ways are tried"""
SIMILARITY = 0.7
"""minimum Jaccard similarity of 5-word shingles with a removed text from which a document leaves too: about one word
in thirty changed. Lower values also take out other texts made from the same template."""
SPACE = re.compile(r"\s+")
HASH = re.compile(r"[0-9a-f]{32}")


def text_hash(text: str) -> str:
    """MD5 of the text with runs of white space folded to one space and the ends trimmed."""
    folded = " ".join(text.split())  # the same white space as that of a regular expression, ten times faster
    return hashlib.md5(folded.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


@dataclass
class Takedowns:
    """The tombstones of a file, ready to be compared with documents."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """the tombstones, in the order of the file"""
    values: dict[str, set[str]] = field(default_factory=lambda: {kind: set() for kind in KINDS})
    """by kind what is looked for"""
    matched: set[int] = field(default_factory=set)
    """numbers of the tombstones that matched a document so far"""

    def __post_init__(self) -> None:
        self._owners: dict[tuple[str, str], list[int]] = {}
        sketches: list[Any] = []
        self._sketched: list[int] = []
        for number, row in enumerate(self.rows):
            for kind in KINDS:
                if kind in row:
                    self.values[kind].add(row[kind])
                    self._owners.setdefault((kind, row[kind]), []).append(number)
            if "sketch" in row:
                sketches.append(sketch.decode(row["sketch"]))
                self._sketched.append(number)
        self._sketches, self._sketcher = sketch.Sketches(sketches), sketch.Sketcher()

    def __bool__(self) -> bool:
        return bool(self.rows)

    def match(self, batch: pa.RecordBatch) -> list[str | None]:
        """For each document of a batch (`id`, `url`, `text`) the way (MATCHES) in which one names it, or None."""
        found = self.match_names(batch)
        if self.values["text_hash"] or len(self._sketches):
            for row, text in enumerate(batch.column("text").to_pylist()):
                how, numbers = self.match_text(text or "")
                if how == NEAR and found[row]:  # named already: the edited copy is no witness for another tombstone
                    continue
                found[row] = found[row] or how
                self.matched.update(numbers)
        return found

    def match_names(self, batch: pa.RecordBatch) -> list[str | None]:
        """The same by `id` and `url` alone; `text` is not read."""
        found: list[str | None] = [None] * batch.num_rows
        for kind in ("id", "url", "domain"):
            wanted = self.values[kind]
            if wanted:
                for row, keys in enumerate(self._keys(kind, batch)):
                    for key in wanted.intersection(keys):
                        found[row] = found[row] or kind
                        self.matched.update(self._owners[kind, key])
        return found

    def match_text(self, text: str) -> tuple[str | None, list[int]]:
        """How tombstones name a text (`text_hash`, `near_duplicate` or None), and the numbers of those that do."""
        if self.values["text_hash"]:
            numbers = self._owners.get(("text_hash", text_hash(text)))
            if numbers:
                return "text_hash", numbers
        numbers = self.alike(text) if len(self._sketches) else []
        return (NEAR if numbers else None), numbers

    def alike(self, text: str) -> list[int]:
        """Ints of the tombstones whose texts are at least SIMILARITY like `text`."""
        shingles = self._sketcher.in_order(text or "")
        if not self._sketches.may_touch(shingles):
            return []
        return [self._sketched[number] for number in self._sketches.alike(np.unique(shingles), SIMILARITY)]

    def touched(self, shingles: Hashes, minimum: int) -> list[int]:
        """Ints of the tombstones of whose sketch a longer text holds so many hashes, or half of all.

        `shingles` are the text's, as `sketch.Sketcher.in_order` gives them.
        """
        if not self._sketches.may_touch(shingles):
            return []
        hits = self._sketches.touched(shingles)
        enough = [min(minimum, (size + 1) // 2) for size in self._sketches.sizes]
        return [self._sketched[number] for number, hit in enumerate(hits.tolist()) if hit and hit >= enough[number]]

    def unmatched(self, by_hand: bool = False) -> list[str]:
        """The tombstones that have matched no document so far, as `kind value`, sorted.

        With `by_hand` only those that nobody has seen match: `llm-core takedown --apply` writes none that matches
        nothing, and a source may stop to offer a removed document.
        """
        missing = [row for number, row in enumerate(self.rows) if number not in self.matched]
        if by_hand:
            missing = [row for row in missing if "documents" not in row and not ("id" in row and "text_hash" in row)]
        return sorted({f"{kind_of(row)} {row[kind_of(row)]}" for row in missing})

    @staticmethod
    def _keys(kind: str, batch: pa.RecordBatch) -> Iterator[Iterable[str]]:
        if kind == "domain":
            yield from (domains_of(host_of(url)) if url else [] for url in batch.column("url").to_pylist())
        elif kind == "url":
            yield from ([plain_url(url)] if url else [] for url in batch.column("url").to_pylist())
        else:
            yield from ([str(value)] if value is not None else [] for value in batch.column(kind).to_pylist())


def kind_of(row: dict[str, Any]) -> str:
    """What a tombstone names: `id`, `url`, `domain` or `text_hash` (a row with an id carries its text's hash too)."""
    return next(kind for kind in KINDS if row.get(kind))


def describe(text: str) -> dict[str, str]:
    """What a tombstone keeps of a document's text: `text_hash` and `sketch`."""
    made = sketch.encode(sketch.Sketcher()(text))
    return {"text_hash": text_hash(text)} | ({"sketch": made} if made else {})


def chosen_file(named: Path | None) -> Path:
    """The file of `--takedowns`, which must exist where somebody named it; by default `FILE`, which need not."""
    if named is not None and not named.is_file():
        raise UserError(f"--takedowns {named}: no such file; leave the option out to read {FILE} where there is one")
    return named or Path(FILE)


def load(path: str | Path) -> Takedowns:
    """Read a tombstone file; a missing file holds none.

    Raises UserError, with file and line, for a line that is not a tombstone.
    """
    rows = []
    for number, row in json_lines.read_rows(path) if Path(path).is_file() else ():
        try:
            rows.append(_checked(row))
        except ValueError as error:
            raise UserError(f"{path}:{number}: {error}") from None
    return Takedowns(rows)


def _checked(row: dict[str, Any]) -> dict[str, Any]:
    """A tombstone with its value in the spelling that is compared; ValueError for what is none."""
    named = [kind for kind in KINDS if row.get(kind) not in (None, "")]
    if not named or (len(named) > 1 and named != ["id", "text_hash"]) or not row.get("reason"):
        raise ValueError(f"a tombstone needs one of {', '.join(KINDS)}, and a reason")
    found = {key: value for key, value in row.items() if value not in (None, "")}
    for kind in named:
        found[kind] = normal(kind, row[kind])
    if "sketch" in found:
        sketch.decode(str(found["sketch"]))
    return found


def normal(kind: str, value: Any) -> str:
    """The value of a tombstone in the spelling that is compared. Raises ValueError, with what is wrong."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ValueError(f"'{kind}' must be text, not {json.dumps(value)}")
    text = str(value).strip()
    if not text:
        raise ValueError(f"'{kind}' is empty")
    if kind == "url":
        return plain_url(text)
    if kind == "text_hash":
        if not HASH.fullmatch(text.lower()):
            raise ValueError("'text_hash' must be 32 hexadecimal digits, as `llm-core trace --json` prints them")
        return text.lower()
    if kind == "domain":
        found = parse(text)
        host = found.host
        if not host or SPACE.search(host):
            raise ValueError(f"'{text}' names no domain; write example.org")
        if found.path.strip("/") or found.query:
            raise ValueError(f"'{text}' is the address of a page; give it as `url`, or the domain alone ({host})")
        return host
    return text


def read_rows(path: str | Path) -> list[dict[str, Any]]:
    """The file's lines as dictionaries; [] where there is no file."""
    return json_lines.load_rows(path, missing_ok=True)


def add_rows(path: str | Path, rows: list[dict[str, Any]]) -> None:
    """Add tombstones to a file. Of two processes that add at once one waits: neither's are lost."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(Path(path).parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # the file itself is replaced
        write_rows(path, read_rows(path) + rows)
    finally:
        os.close(folder)


def write_rows(path: str | Path, rows: list[dict[str, Any]]) -> None:
    """Write tombstones, one a line, sorted, so that the file does not depend on the order of requests."""
    with output_file(path) as stream:
        stream.writelines(sorted({json_lines.dump(row, sort_keys=True) for row in rows}))
