"""The ledger: what each stage decided about each document, and why.

One Parquet row per document and stage that judged it. Reasons are names
(`gopher_word_count`), never sentences, so that they can be counted. What a stage drops,
its ledger keeps: count in = kept + dropped, always; `check_balance` holds a stage to it.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypedDict

import pyarrow as pa
import pyarrow.parquet as pq

from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter
from llm_core.formats.identity import Identities
from llm_core.runtime.progress import log
from llm_core.runtime.storage import fetched_ahead, list_files, local_file

HINTS = {
    "quarantine_json": "each line must be one JSON object with a string field 'text'",
    "quarantine_no_object": "each line must be one JSON object with a string field 'text', not a list",
    "quarantine_no_text": "each record needs a string field 'text'; `llm-core fetch` takes other names by `columns`",
    "quarantine_wrong_kind": "the files are not what their names say",
    "too_short": "see cleaning.min_characters",
    "language": "see cleaning.language.keep",
    "takedown": "see the tombstones in takedowns.jsonl",
    "left_out_of_mix": "see mix.weights and mix.total",
}
"""what a person can do about the commonest reasons for which nothing is left"""
STAGE_HINTS = {
    "clean": "cleaning.steps and cleaning.recipes decide, and sources in cleaning.exempt are not judged",
    "filter": "the thresholds of a recipe are in cleaning.recipes, and sources in cleaning.exempt are not judged",
    "extract": "see cleaning.extraction",
}
"""the same where none of these reasons is the commonest"""
Verdict = Literal["kept", "changed", "dropped"]

SHARD_BYTES = 1 << 24  # some 262,000 rows: Arrow holds what a shard's footer says of its rows until it is closed
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("stage", pa.string(), nullable=False),  # the verb: clean, dedup, …
        pa.field("verdict", pa.string(), nullable=False),  # kept, changed (kept, with another text), dropped
        pa.field("reason", pa.string()),  # a name; null where simply kept
        pa.field("score", pa.float64()),  # what the rule measured (a share, a count, a similarity)
        pa.field("bytes", pa.int64()),  # UTF-8 length of the text as it came in
        pa.field("cluster_id", pa.string()),  # dedup: smallest id of the duplicate cluster
        pa.field("survivor_id", pa.string()),  # dedup: the document kept instead
        pa.field("detail", pa.string()),  # a name again: the benchmark item, the quarantined file
        pa.field("shard", pa.string()),  # input file, as the stage was given it
        pa.field(
            "offset", pa.int64()
        ),  # in that input: row from 0, byte of a WARC; line from 1 where lines are read alone
    ]
)


class Row(TypedDict, total=False):
    """A ledger row under construction; see SCHEMA for the columns' meaning."""

    id: str
    source: str
    stage: str
    verdict: Verdict
    reason: str | None
    score: float | None
    bytes: int | None
    cluster_id: str | None
    survivor_id: str | None
    detail: str | None
    shard: str | None
    offset: int | None


class LedgerWriter(DocumentWriter):
    """Writes ledger rows as Parquet shards, and counts verdicts and reasons per source."""

    def __init__(self, folder: str | Path, stage: str) -> None:
        super().__init__(folder, SHARD_BYTES, SCHEMA)
        self.stage = stage
        self.counts: Counter[tuple[str, str, str]] = Counter()  # (source, verdict, reason) -> documents
        self.sizes: Counter[tuple[str, str, str]] = Counter()  # the same -> bytes
        self._identities: Identities | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows of SCHEMA; their ids are noted for `require_unique`."""
        self._identities = self._identities or Identities(self.folder)
        self._identities.add(batch.column("id"))
        super().write(batch)

    def require_unique(self) -> None:
        """Raise UserError where two documents of the stage had one id. Call it when the writer is closed."""
        if self._identities:
            self._identities.require_unique(self._places(), self.stage)

    def _places(self) -> Iterator[tuple[str, str]]:
        for batch in read_ledger(self.folder, ["id", "shard", "offset"]):
            for row in batch.to_pylist():
                yield row["id"], f"{row['shard']}, row {row['offset']}"

    def record(self, rows: list[Row]) -> None:
        """Append verdicts; `stage` is filled in. What a detail quotes that is not UTF-8 becomes `?`."""
        for row in rows:
            if detail := row.get("detail"):
                row["detail"] = detail.encode("utf-8", "replace").decode("utf-8")
            key = (row["source"], row["verdict"], row.get("reason") or "")
            self.counts[key] += 1
            self.sizes[key] += row.get("bytes") or 0
        self.write_rows([{**row, "stage": self.stage} for row in rows])

    def record_columns(self, rows: int, **columns: pa.Array) -> None:
        """Append verdicts given in columns, `source`, `verdict`, `reason`, `bytes` among them; others are null."""
        stage = pa.repeat(self.stage, rows)
        arrays = [
            (columns | {"stage": stage}).get(field.name, pa.nulls(rows, field.type)).cast(field.type)
            for field in SCHEMA
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)
        keys = ["source", "verdict", "reason"]
        totals = (
            pa.table(batch.select([*keys, "bytes"]))
            .group_by(keys, use_threads=False)
            .aggregate([("bytes", "sum"), ([], "count_all")])
        )
        for row in totals.to_pylist():
            key = (row["source"], row["verdict"], row["reason"] or "")
            self.counts[key] += row["count_all"]
            self.sizes[key] += row["bytes_sum"] or 0
        self.write(batch)

    def finish(self, documents_in: int, may_be_empty: bool = False) -> dict[str, Any]:
        """The summary of a stage that ends: each id once, in balance, and with something left.

        Every document stage ends here; the writer must be closed. Raises UserError where an id was read twice, or
        nothing was kept and that is not what was asked for (`may_be_empty`, `require_kept`).
        """
        metrics = self.summary()
        self.require_unique()
        check_balance(documents_in, metrics)
        log(f"{self.stage}: {counted(metrics)}")
        if not may_be_empty:
            require_kept(self.stage, metrics)
        return metrics

    def summary(self) -> dict[str, Any]:
        """Documents and bytes in, kept, changed and dropped, in all, per source and per reason."""
        return summarize(self.counts, self.sizes)


def summarize(counts: Counter[tuple[str, str, str]], sizes: Counter[tuple[str, str, str]]) -> dict[str, Any]:
    """Nested metrics of (source, verdict, reason) counts; see LedgerWriter."""

    def table(source: str | None) -> dict[str, Any]:
        picked = [key for key in counts if source in (None, key[0])]
        total = {"documents_in": 0, "documents_kept": 0, "documents_changed": 0, "documents_dropped": 0}
        total |= {"bytes_in": 0, "bytes_kept": 0, "bytes_dropped": 0}
        dropped: Counter[str] = Counter()
        for key in picked:
            verdict, reason = key[1], key[2]
            total["documents_in"] += counts[key]
            total["bytes_in"] += sizes[key]
            fate = "dropped" if verdict == "dropped" else "kept"
            total[f"documents_{fate}"] += counts[key]
            total[f"bytes_{fate}"] += sizes[key]
            if verdict == "changed":
                total["documents_changed"] += counts[key]
            if verdict == "dropped":
                dropped[reason] += counts[key]
        return {**total, "dropped_by_reason": dict(sorted(dropped.items()))}

    sources = sorted({key[0] for key in counts})
    return {**table(None), "by_source": {source: table(source) for source in sources}}


def counted(metrics: dict[str, Any]) -> str:
    """What a stage decided, in a line: `5 documents in, 3 kept (1 changed), 2 dropped (2 exact_duplicate)`."""
    changed = f" ({metrics['documents_changed']} changed)" if metrics["documents_changed"] else ""
    reasons = ", ".join(
        f"{count} {reason}" for reason, count in sorted(metrics["dropped_by_reason"].items(), key=lambda one: -one[1])
    )
    return (
        f"{metrics['documents_in']} documents in, {metrics['documents_kept']} kept{changed}, "
        f"{metrics['documents_dropped']} dropped{f' ({reasons})' if reasons else ''}"
    )


def read_ledger(folder: str | Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Stream a stage's ledger; `folder` is the stage's output folder or its `ledger/`."""
    folder = Path(folder)
    inner = folder / "ledger" if (folder / "ledger").is_dir() else folder
    for file in fetched_ahead(list_files(inner, (".parquet",)) if inner.is_dir() else []):
        yield from pq.ParquetFile(local_file(file)).iter_batches(columns=columns)


def check_balance(documents_in: int, metrics: dict[str, Any]) -> None:
    """Raise RuntimeError unless every document that came in was either kept or dropped."""
    accounted = metrics["documents_kept"] + metrics["documents_dropped"]
    if accounted != documents_in or metrics["documents_in"] != documents_in:
        raise RuntimeError(f"ledger out of balance: {documents_in} documents in, {accounted} accounted for")


def require_kept(stage: str, metrics: dict[str, Any]) -> None:
    """Raise UserError where the stage kept none of its documents; the message names the reasons by their counts.

    Where each one was removed by a tombstone, nothing left is what was asked for, and it is logged.
    """
    if metrics["documents_kept"]:
        return
    if set(metrics["dropped_by_reason"]) == {"takedown"}:
        log(f"{stage}: every document was taken down, as the tombstones ask; nothing is left to train on")
        return
    reasons = sorted(metrics["dropped_by_reason"].items(), key=lambda item: -item[1])
    named = ", ".join(f"{reason} {count}" for reason, count in reasons[:4])
    hint = HINTS.get(reasons[0][0] if reasons else "") or STAGE_HINTS.get(stage)
    raise UserError(
        f"{stage}: none of {metrics['documents_in']} documents is left ({named})" + (f"; {hint}" if hint else "")
    )
