"""What changed between two versions of the data, or of a model.

Two document folders are joined on their ids by DuckDB (which spills to disk when memory is full), so that a
document is added, removed, or changed by its text. A document removed is looked up in the
newer version's ledger, which names the stage that dropped it and the reason. Two models are
compared by the documents that their training saw, by their settings and by their scores; where
both were evaluated, score by score on the items that both answered, with paired intervals.
Folders of another git revision come from `revisions.py`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from llm_core.errors import UserError
from llm_core.evaluation.gate import Results, comparable, difference
from llm_core.evaluation.results import read_results
from llm_core.formats.documents import document_files
from llm_core.formats.pages import Block, number, to_markdown
from llm_core.formats.parquet import open_parquet
from llm_core.lineage import sql
from llm_core.lineage.index import connect, rows_of
from llm_core.lineage.revisions import FILE, LOCK, stage_outputs
from llm_core.lineage.training import TrainingData, ancestry, chain, documents
from llm_core.params.evaluation import Gate
from llm_core.params.reading import parse
from llm_core.runtime.nested import flatten
from llm_core.runtime.storage import glob_files, local_files, read_json

SPREAD = ("_low", "_high", "_stderr", "detectable")  # of a score: the paired intervals are more informative


@dataclass
class Diff:
    """Differences between `before` and `after`, as tables for readers and numbers for programs."""

    before: str
    after: str
    sources: list[dict[str, Any]] = field(default_factory=list)
    """per source: documents before, after, added, removed, changed"""
    reasons: list[dict[str, Any]] = field(default_factory=list)
    """why documents were removed: source, stage, reason, documents"""
    tokens: list[dict[str, Any]] = field(default_factory=list)
    """per source: tokens trained on before and after, and their shares"""
    settings: list[dict[str, Any]] = field(default_factory=list)
    """settings that differ: setting, before, after"""
    scores: list[dict[str, Any]] = field(default_factory=list)
    """metrics that differ: metric, before, after"""
    improvements: list[dict[str, Any]] = field(default_factory=list)
    """scores on common items: metric, items, improvement (positive is better), low and high of its interval;
    `why not` where a metric cannot be compared"""

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        moved = any(row["added"] or row["removed"] or row["changed"] for row in self.sources)
        return not (moved or self.settings or self.scores or any(r["before"] != r["after"] for r in self.tokens))

    def page(self) -> list[Block]:
        """The differences as a page."""
        parts = [Block("title", f"{self.before} → {self.after}")]
        if self.same:
            parts.append(Block("text", "Nothing differs."))
        for title, rows in (
            ("Documents by source", self.sources),
            ("Why documents were removed", self.reasons),
            ("Tokens trained on", self.tokens),
            ("Settings", _shown(self.settings)),
            ("Scores, paired on the same items (positive is better)", self.improvements),
            ("Scores", _shown(self.scores)),
        ):
            if rows:
                parts += [Block("heading", title), Block("table", rows)]
        return parts

    def markdown(self) -> str:
        """The differences as Markdown."""
        return to_markdown(self.page())


def _shown(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows with values to six digits, so that small differences are visible; counts without separators."""
    return [
        {
            key: number(value, 6) if isinstance(value, float) else value if value is None else str(value)
            for key, value in row.items()
        }
        for row in rows
    ]


def diff(before: Path, after: Path, gate: Gate, seed: int) -> Diff:
    """Compare two document folders or two model folders; `gate` has the confidence of the intervals.

    Raises UserError where a path is neither kind of folder, or the two are of different kinds.
    """
    kinds = [_kind(before), _kind(after)]
    if kinds[0] != kinds[1]:
        raise UserError(f"{before} is a {kinds[0]} folder, {after} a {kinds[1]} folder: compare two of a kind")
    return diff_models(before, after, gate, seed) if kinds[0] == "model" else diff_documents(before, after)


def diff_documents(before: Path, after: Path) -> Diff:
    """Compare two folders of documents; the newer one's ledger, and those beside it, say why documents were removed."""
    database = connect()
    versions = [sql.parquet(local_files(_tables(path))) for path in (before, after)]
    database.execute(
        f"CREATE TEMP TABLE joined AS SELECT coalesce(a.id, b.id) AS id, coalesce(a.source, b.source) AS source, "
        f"a.id IS NOT NULL AS was, b.id IS NOT NULL AS is_now, a.hash <> b.hash AS changed "
        f"FROM (SELECT id, source, md5(text) AS hash FROM {versions[0]}) a "
        f"FULL JOIN (SELECT id, source, md5(text) AS hash FROM {versions[1]}) b USING (id)"
    )
    found = Diff(str(before), str(after))
    found.sources = rows_of(
        database.sql(
            "SELECT source, count(*) FILTER (was) AS before, count(*) FILTER (is_now) AS after, "
            "count(*) FILTER (NOT was) AS added, count(*) FILTER (NOT is_now) AS removed, "
            "count(*) FILTER (changed) AS changed FROM joined GROUP BY source ORDER BY source"
        )
    )
    ledgers = local_files(glob_files(_data_folder(after), "**/ledger/*.parquet"))
    if ledgers and any(row["removed"] for row in found.sources):
        found.reasons = rows_of(
            database.sql(
                f"SELECT j.source, coalesce(l.stage, '') AS stage, coalesce(l.reason, 'not in any ledger') AS reason, "
                f"count(DISTINCT j.id) AS documents FROM joined j LEFT JOIN (SELECT id, stage, reason FROM "
                f"{sql.parquet(ledgers)} WHERE verdict = 'dropped') l USING (id) "
                f"WHERE NOT j.is_now GROUP BY ALL ORDER BY documents DESC, j.source, reason"
            )
        )
    return found


def _tables(path: Path) -> list[str]:
    """The Parquet files of documents at `path`. Raises UserError where a file is no Parquet file, or lacks a column."""
    files = document_files(str(path))
    for file in files:
        if not file.lower().endswith(".parquet"):
            raise UserError(f"{file}: `diff` compares Parquet documents, as every stage writes them")
        with open_parquet(file) as parquet:
            schema = parquet.schema_arrow
        for name in ("id", "source", "text"):
            if name not in schema.names or not (
                pa.types.is_string(t := schema.field(name).type) or pa.types.is_large_string(t)
            ):
                raise UserError(
                    f"{file}: needs a column '{name}' of strings; it has {', '.join(schema.names) or 'none'}"
                )
    return files


def diff_models(before: Path, after: Path, gate: Gate, seed: int) -> Diff:
    """Compare two models: documents and tokens their training saw, settings, and scores where they were evaluated."""
    found = Diff(str(before), str(after))
    records = [ancestry(path)[-1] for path in (before, after)]
    seen = [_seen(record) for record in records]
    for source in sorted({source for ids, _ in seen for source in ids}):
        was, now = (ids.get(source, set[str]()) for ids, _ in seen)
        found.sources.append(
            {
                "source": source,
                "before": len(was),
                "after": len(now),
                "added": len(now - was),
                "removed": len(was - now),
                "changed": 0,
            }
        )
        counts = [tokens[source] for _, tokens in seen]
        shares = [count / max(sum(tokens.values()), 1) for count, (_, tokens) in zip(counts, seen, strict=True)]
        found.tokens.append(
            {"source": source, "before": counts[0], "after": counts[1]}
            | {"share before": f"{shares[0]:.2%}", "share after": f"{shares[1]:.2%}"}
        )
    settings = [_settings(path, record) for path, record in zip((before, after), records, strict=True)]
    scores = [_scores(path) for path in (before, after)]
    found.settings = list(_differing(settings[0], settings[1], "setting"))
    found.scores = list(_differing(scores[0], scores[1], "metric"))
    old, new = (_data_folder(path) / "evaluation" / path.name for path in (before, after))
    if (old / "results.jsonl").is_file() and (new / "results.jsonl").is_file():
        found.improvements = list(_improvements(read_results(old), read_results(new), gate, seed))
    return found


def _kind(path: Path) -> str:
    if (path / "config.json").is_file():
        return "model"
    document_files(str(path))  # raises UserError where there are none
    return "document"


def _data_folder(folder: Path) -> Path:
    """The folder of all stages' outputs that `folder` belongs to: its nearest parent that holds `raw`, else itself."""
    return next((parent for parent in (folder, *folder.resolve().parents) if (parent / "raw").is_dir()), folder)


def _seen(record: TrainingData) -> tuple[dict[str, set[str]], Counter[str]]:
    """Ids and tokens per source that a training saw."""
    ids: dict[str, set[str]] = {}
    tokens: Counter[str] = Counter()
    for batch in documents(record):
        columns = (batch.column(name).to_pylist() for name in ("source", "id", "start", "stop"))
        for source, identifier, start, stop in zip(*columns, strict=True):
            ids.setdefault(source, set()).add(identifier)
            tokens[source] += stop - start
    return ids, tokens


def _settings(model: Path, record: TrainingData) -> dict[str, Any]:
    """The settings of a model's pretraining: its loader and steps, the configuration, and its params where they were
    kept; and the params of the stages that made the model and those it descends from.

    The params of its own finetune are under NAME, so that two finetunes of other names are compared.
    """
    settings = {"steps": record.steps, **{f"loader.{key}": value for key, value in record.loader.items()}}
    for name in ("config.json", "params.json"):
        file = record.model / name
        if file.is_file():
            settings |= {f"{name.removesuffix('.json')}.{key}": value for key, value in read_json(file).items()}
    for folder in reversed(chain(model)):
        settings |= _declared(folder)
    own = re.compile(rf"^(params\.finetuning\.\w+)\.{re.escape(model.resolve().name)}\.")
    return {own.sub(r"\1.NAME.", key): value for key, value in settings.items()}


def _declared(model: Path) -> dict[str, Any]:
    """Params of the stage that made a model, as its project's dvc.lock files have them, also those of experiments; none
    where no stage there did."""
    place = model.resolve()
    project = next((one for one in place.parents if (one / LOCK).is_file() or (one / FILE).is_file()), place)
    found: dict[str, Any] = {}
    for lock in sorted(file for above in ("", "*/", "*/*/") for file in project.glob(f"{above}{LOCK}")):
        files = [parse(file.read_text(encoding="utf-8"), str(file)) if file.is_file() else None
                 for file in (lock, lock.with_name(FILE))]  # fmt: skip
        for path, _, stage in stage_outputs(lock.parent.as_posix(), *files):
            if place.is_relative_to(path):  # a snapshot lies in the folder of its training
                for params in (stage.get("params") or {}).values():
                    found |= flatten(params, "params.")
    return found


def _scores(model: Path) -> dict[str, Any]:
    """Figures of a model's own metrics.json and of its evaluation, flattened."""
    found: dict[str, Any] = {}
    for file in (model / "metrics.json", _data_folder(model) / "evaluation" / model.name / "metrics.json"):
        if file.is_file():
            figures = flatten(read_json(file), f"{file.parent.parent.name}.")
            found |= {
                key: value
                for key, value in figures.items()
                if isinstance(value, int | float | str) and not key.endswith(SPREAD)
            }
    return found


def _improvements(before: Results, after: Results, gate: Gate, seed: int) -> Iterator[dict[str, Any]]:
    """A row for each metric that both have on common items; one with `why not` where it cannot be compared."""
    for metric in comparable(before, after):
        row: dict[str, Any] = {"metric": metric, **dict.fromkeys(("items", "improvement", "low", "high", "why not"))}
        try:
            found = difference(before, after, metric, gate, seed)
        except UserError as error:  # the other metrics are still compared
            yield row | {"why not": str(error)}
            continue
        known = {"improvement": found.difference, "low": found.low, "high": found.high}
        yield row | {"items": found.items} | {name: round(value, 4) for name, value in known.items()}


def _differing(before: dict[str, Any], after: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    for key in sorted({*before, *after}):
        if before.get(key) != after.get(key):
            yield {name: key, "before": before.get(key), "after": after.get(key)}
