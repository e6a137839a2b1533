"""The protocol between the fetch stage and the kinds of sources.

A source lists its shards in a stable order, brings one shard to a local file (verified,
resumable) and streams that file's records. A record is a `Document` or a `Rejected` one:
unreadable (reason `quarantine_…`) or of no use here (an error page, a revisit). Reading never
raises because of one record or one broken file, and yields one of the two for every record it meets.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from llm_core.runtime.inputs import MAX_RATIO, BrokenInputError


@dataclass(frozen=True)
class Document:
    """One document as the source has it. `key` is its name there, unique within the source and stable."""

    key: str
    text: str
    url: str | None = None
    language: str | None = None
    license: str | None = None  # None: the source's own
    created: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    id: str | None = None  # the source's own id, where it brings ids; its name in the project is made of it
    offset: int = 0  # row or byte in the file
    file: str | None = None  # where it was read; None: the shard is one file, and its name says which
    note: str | None = None  # the ledger's reason beside "kept"


@dataclass(frozen=True)
class Rejected:
    """A record that did not become a document: why (a name), where, and how long it was."""

    reason: str
    offset: int  # row or byte in the file
    size: int = 0  # bytes
    detail: str | None = None
    file: str | None = None  # as for Document


Record = Document | Rejected
KEPT_WHOLE = {"page": "no_pages", "chapter": "no_chapters"}
"""The note of a file that is one document because it lacks the parts that the unit asks for."""


@dataclass(frozen=True)
class Shard:
    """A piece of a source that is fetched, read and resumed as a whole."""

    name: str  # unique within the source; the ledger's `shard`
    address: str = ""  # where it lies; may be empty where `name` says all
    sha256: str | None = None
    size: int | None = None
    parts: tuple[tuple[str, int, int], ...] = ()  # byte ranges that make it up: (address, offset, length)


def only_urls(records: Iterator[Record], pattern: str | None) -> Iterator[Record]:
    """Reject documents whose URL `pattern` does not find; None lets all pass."""
    find = re.compile(pattern).search if pattern else None
    for record in records:
        if find and isinstance(record, Document) and not find(record.url or ""):
            size = len(record.text.encode("utf-8", "replace"))
            yield Rejected("url_pattern", record.offset, size, record.url, record.file)
        else:
            yield record


@dataclass(frozen=True)
class Limits:
    """Bounds on what one record and one file may ask for; see the params of the same names."""

    max_document_bytes: int = 64 << 20
    max_inflation: float = MAX_RATIO


def broken_file(error: Exception, offset: int = 0, size: int = 0) -> Rejected:
    """The rejected record that reports a file which could not be read, or not to its end.

    Raises the error where the file changed while it was read: what was read of it is of no use.
    """
    reason = error.reason if isinstance(error, BrokenInputError) else "quarantine_unreadable_file"
    if reason == "quarantine_changed_while_read":
        raise error
    text = " ".join(str(error).split()) or type(error).__name__
    return Rejected(reason, offset, size, text[:300])


def or_empty(records: Iterator[Record], skipped: Counter[str] | None = None) -> Iterator[Record]:
    """The records; where there is not one, and none was counted in `skipped`, a rejected one: `empty_file`."""
    before, found = sum((skipped or {}).values()), False
    for record in records:
        found = True
        yield record
    if not found and sum((skipped or {}).values()) == before:
        yield Rejected("empty_file", 0)


class SourceRoom(Protocol):
    """What every kind of source offers."""

    not_read: Counter[str]
    """Files that `shards` passed over, by reason."""
    streaming: bool
    """Whether `records` reads from the network, uncached: finished shards are then kept for the next run."""

    def shards(self) -> list[Shard]:
        """All shards, in a stable order."""

    def bring(self, shard: Shard) -> Path | None:
        """Fetch and verify what `records` will read; None where there is nothing to fetch beforehand."""

    def records(self, shard: Shard, file: Path | None, skipped: Counter[str]) -> Iterator[Record]:
        """Stream the shard's records; count in `skipped` what is no document by its kind (WARC requests, …)."""
