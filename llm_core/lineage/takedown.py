"""Takedowns: which documents must be removed, and what is affected.

A request names documents by id, URL, domain or text hash. Their twins are removed too: every document of the same text
and, unless the request excludes them, every near-duplicate in the same cluster, also those that deduplication had
dropped in favour of a removed one.
The plan becomes tombstones (`llm_core.corpus.takedowns`), an input of the graph; `dvc repro` then
rebuilds what depends on them, and `llm_core.lineage.proof` reads what was built and says what is left.

What a takedown does not do: it neither deletes the text from `data/raw` nor from DVC's
cache and remotes (`dvc gc` does, once no version that is kept holds it), and it does not
unlearn: models trained on a removed document are listed, to be retrained or withdrawn.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llm_core.corpus import takedowns
from llm_core.corpus.similarity.sketch import Sketcher, Sketches, decode
from llm_core.errors import UserError
from llm_core.lineage.index import Index
from llm_core.lineage.journey import token_rows
from llm_core.lineage.models import told, trained_models
from llm_core.lineage.search import by_domain, by_id, by_text_hash, by_url
from llm_core.lineage.versions import affected
from llm_core.runtime.storage import glob_files, local_file, read_json
from llm_core.tokenization.training.sample import is_drawn

FINDERS = {"id": by_id, "url": by_url, "domain": by_domain, "text_hash": by_text_hash}
REBUILT = (
    "dedup",
    "decontaminated",
    "split/train",
    "split/heldout",
    "mix",
)  # folders below data/ that a takedown changes


@dataclass
class Plan:
    """What a request removes and affects."""

    request: dict[str, str]
    """kind (id, url, domain, text_hash), value, reason"""
    named: list[str]
    """ids that the request itself names"""
    twins: dict[str, str] = field(default_factory=dict)
    """id -> why it is removed too: same_text or near_duplicate"""
    promoted: list[str] = field(default_factory=list)
    """ids of clusters whose kept document is removed while others stay; one of the others is kept instead"""
    shards: dict[str, tuple[int, int]] = field(default_factory=dict)
    """folder -> (shards that hold a removed document, all its shards)"""
    tokenizer: list[str] = field(default_factory=list)
    """ids of removed documents in the sample that the tokenizer was trained on; if there are any, it is trained
    again"""
    models: list[dict[str, Any]] = field(default_factory=list)
    """models here that were trained on a removed document, and how (`models.uses`)"""
    texts: dict[str, dict[str, str]] = field(default_factory=dict)
    """for each removed document what its tombstone keeps of its text: the hash and, for the named ones, the sketch"""
    versions: list[dict[str, Any]] = field(default_factory=list)
    """the same for the versions registered in MLflow (`versions.affected`)"""

    @property
    def removed(self) -> list[str]:
        """Ids of all documents that are removed, sorted."""
        return sorted({*self.named, *self.twins})

    def tombstones(self) -> list[dict[str, Any]]:
        """Lines for takedowns.jsonl: the request itself, and every removed id with its text's hash and sketch."""
        reason = self.request["reason"]
        kind, value = self.request["kind"], self.request["value"]
        rows: list[dict[str, Any]] = []
        if kind != "id":
            rows.append({kind: value, "reason": reason, "documents": len(self.named)})
        rows += [{"id": identifier, "reason": reason, **self.texts.get(identifier, {})} for identifier in self.named]
        return rows + [
            {"id": identifier, "reason": reason, "twin": why, **self.texts.get(identifier, {})}
            for identifier, why in sorted(self.twins.items())
        ]

    def told_tokenizer(self) -> str:
        """What happens to the tokenizer, as a sentence."""
        if self.tokenizer:
            return f"the tokenizer was trained on {len(self.tokenizer)} of them: it and every token shard are made anew"
        return "the tokenizer was trained on none of them: it stays, and so do the other token shards"

    def lines(self) -> list[str]:
        """The plan as text."""
        lines = [f"{len(self.named)} documents named by {self.request['kind']} {self.request['value']}"]
        lines += [f"  {identifier}" for identifier in self.named[:8]]
        if self.twins:
            lines.append(f"{len(self.twins)} twins leave with them")
            lines += [f"  {identifier} ({why})" for identifier, why in sorted(self.twins.items())[:8]]
        if self.promoted:
            lines.append(f"{len(self.promoted)} clusters keep another document in place of a removed one")
        lines.append("shards that hold a removed document")
        lines += [f"  {folder:<22} {hit} of {total}" for folder, (hit, total) in self.shards.items()]
        lines.append(self.told_tokenizer())
        for title, rows in (("models here", self.models), ("registered versions", self.versions)):
            affected = {row["model"] for row in rows if "unknown" not in row}
            lines.append(f"{len(affected)} {title} that a removed document went into")
            lines += [f"  {row['model']}: {told(row)}" for row in rows]
        return lines


def plan(
    index: Index, data: Path, kind: str, value: str, reason: str, near_duplicates: bool = True, seed: int = 0
) -> Plan:
    """What a takedown by `kind` (id, url, domain, text_hash) would remove and affect; `seed` is the params' own.

    Raises UserError when nothing matches.
    """
    try:
        value = takedowns.normal(kind, value)
    except ValueError as error:
        raise UserError(f"--{kind.replace('_', '-')}: {error}") from None
    named = sorted({hit.id for hit in FINDERS[kind](index, value)})
    if not named:
        raise UserError(f"--{kind.replace('_', '-')} {value}: no document found below {data}")
    if kind == "id" and len(named) > 1:
        shown = ", ".join(named[:8]) + (", …" if len(named) > 8 else "")
        raise UserError(f"--id {value}: {len(named)} documents have this key; give one of their own ids ({shown})")
    found = Plan({"kind": kind, "value": named[0] if kind == "id" else value, "reason": reason}, named)
    for identifier in named:
        for row in index.rows("hashes", "id = ?", [identifier]):
            for hit in by_text_hash(index, row["text_hash"]):
                if hit.id not in named:
                    found.twins.setdefault(hit.id, "same_text")
    clusters = _clusters(index, found.removed)
    if near_duplicates:
        for row in (row for members in clusters.values() for row in members):
            if row["id"] not in named:
                found.twins.setdefault(row["id"], "near_duplicate")
        for identifier in _alike(data, named):
            found.twins.setdefault(identifier, "near_duplicate")
    removed = set(found.removed)
    found.texts = _described(data, named, set(found.twins), near_duplicates)
    for cluster, members in clusters.items():
        survivors = {row["id"] for row in members if row["verdict"] != "dropped"}
        if survivors <= removed and any(row["id"] not in removed for row in members):
            found.promoted.append(cluster)
    found.shards = touched_shards(data, removed)
    found.tokenizer = tokenizer_sample(data, removed, seed)
    found.models = trained_models(data / "models", removed)
    found.versions = affected(removed)
    return found


def _alike(data: Path, named: list[str]) -> list[str]:
    """Other documents that the next `dedup` will remove by the tombstones' sketches: edited copies of the named
    ones."""
    texts = _described(data, named, set(), sketched=True)
    sketches = Sketches([decode(text["sketch"]) for text in texts.values() if text.get("sketch")])
    if not len(sketches):
        return []
    sketcher, others = Sketcher(), set()
    for file in glob_files(data, "clean/*/documents/*.parquet"):
        for batch in pq.ParquetFile(local_file(file)).iter_batches(columns=["id", "text"]):
            for identifier, text in zip(batch["id"].to_pylist(), batch["text"].to_pylist(), strict=True):
                if sketches.alike(sketcher(text or ""), takedowns.SIMILARITY):
                    others.add(identifier)
    return sorted(others - set(named))


def _described(data: Path, named: list[str], twins: set[str], sketched: bool) -> dict[str, dict[str, str]]:
    """Hash and sketch of each removed text as the stages read it: cleaned where there is a cleaned text, else raw.
    Without `sketched` no near-duplicate is removed, so only hashes are kept; a twin has the sketch of the named
    document.
    """
    found: dict[str, dict[str, str]] = {}
    wanted = pa.array(sorted({*named, *twins}), pa.string())
    for stage in ("clean", "raw"):
        for file in glob_files(data, f"{stage}/*/documents/*.parquet"):
            for batch in pq.ParquetFile(local_file(file)).iter_batches(columns=["id", "text"]):
                for row in batch.filter(pc.is_in(batch["id"], wanted)).to_pylist():
                    if row["id"] not in found:
                        made = takedowns.describe(row["text"] or "")
                        keep = ("text_hash", "sketch") if sketched and row["id"] not in twins else ("text_hash",)
                        found[row["id"]] = {key: made[key] for key in keep if key in made}
    return found


def touched_shards(data: Path, removed: set[str]) -> dict[str, tuple[int, int]]:
    """For each folder that a takedown changes: the shards that contain one of `removed`, and all shards."""
    touched = {}
    for folder in REBUILT:
        files = glob_files(data / folder, "documents/*.parquet")
        held = (pq.read_table(local_file(file), columns=["id"])["id"].to_pylist() for file in files)
        hits = sum(not removed.isdisjoint(ids) for ids in held)
        if files:
            touched[folder] = (hits, len(files))
    shards = {row["shard"] for row in token_rows(data / "tokens", removed)}
    for part in sorted(path for path in (data / "tokens").glob("*") if path.is_dir()):
        files = glob_files(part, "*.arrow")
        touched[f"tokens/{part.name}"] = (sum(str(file) in shards for file in files), len(files))
    return touched


def tokenizer_sample(data: Path, identifiers: set[str], seed: int) -> list[str]:
    """Those of `identifiers`, among the training documents, that the tokenizer below `data` was trained on; sorted."""
    metrics = data / "tokenizer/metrics.json"
    shares = read_json(metrics)["sampled_share"] if metrics.is_file() else {}
    found = []
    for file in glob_files(data, "split/train/documents/*.parquet") if shares else []:
        rows = pq.read_table(local_file(file), columns=["id", "source"]).to_pylist()
        found += [
            row["id"] for row in rows if row["id"] in identifiers and is_drawn(row["id"], shares[row["source"]], seed)
        ]
    return sorted(found)


def _clusters(index: Index, identifiers: list[str]) -> dict[str, list[dict[str, Any]]]:
    clusters: dict[str, list[dict[str, Any]]] = {}
    for identifier in identifiers:
        for row in index.rows("journeys", "id = ? AND cluster_id IS NOT NULL", [identifier]):
            if row["cluster_id"] not in clusters:
                clusters[row["cluster_id"]] = index.rows("clusters", "cluster_id = ?", [row["cluster_id"]], "id")
    return clusters
