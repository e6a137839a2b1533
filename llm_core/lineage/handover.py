"""The report of a takedown for the person who asked: the request, what was removed, what is proven, what remains.

It is made twice from the same parts: with the plan (what will be removed, and which shards and models are affected)
and after the rebuild with `--check` (that nothing is left). It contains no document's text.
"""

from pathlib import Path
from typing import Any

from llm_core.corpus import takedowns
from llm_core.formats.pages import Block
from llm_core.lineage.index import Index
from llm_core.lineage.models import told
from llm_core.lineage.proof import Proof
from llm_core.lineage.takedown import Plan
from llm_core.runtime.digests import content_digest

REMAINS = [
    "The text stays in data/raw, data/clean, in DVC's cache and in its remotes until it is deleted there: 'dvc gc' "
    "deletes it once no version that is kept holds it; a source that still offers it is read again by the next "
    "download.",
    "Models do not unlearn. Those listed were trained with the document: retrain them (dvc repro) or withdraw them.",
    "A tokenizer trained with the document keeps the merges it learned, unless it is trained again.",
]


def plan_report(plan: Plan, index: Index, applied: bool) -> list[Block]:
    """The plan as a page."""
    request = plan.request
    state = "The tombstones are written; 'dvc repro' rebuilds the data." if applied else "Only a plan so far."
    parts = [
        Block("title", f"Takedown: {request['kind']} {request['value']}"),
        Block("text", f"Reason given: {request['reason']}. {state}"),
        Block("heading", "Documents that leave"),
        Block("table", _documents(plan, index)),
    ]
    if plan.promoted:
        kept = f"In {len(plan.promoted)} clusters of duplicates another document takes the removed one's place."
        parts.append(Block("text", kept))
    shards = [
        {"folder": name, "shards": total, "holding a removed document": hit}
        for name, (hit, total) in plan.shards.items()
    ]
    tokenizer = plan.told_tokenizer()
    parts += [
        Block("heading", "Shards"),
        Block("table", shards),
        Block("text", f"{tokenizer[0].upper()}{tokenizer[1:]}."),
        Block("heading", "Models"),
        *_models(plan),
    ]
    return [*parts, Block("heading", "What remains"), Block("list", REMAINS)]


def check_report(proof: Proof, data: Path, tombstones: Path) -> list[Block]:
    """The proof after the rebuild as a page: every tombstone, and how many of its documents are left in which place."""
    rows = [
        {
            "data": folder,
            "removed documents left": count,
            "digest of the data read": content_digest(_read(data / folder)),
        }
        for folder, count in proof.left.items()
    ]
    names = [
        {
            "tombstone": f"{takedowns.kind_of(row)} {row[takedowns.kind_of(row)]}",
            "reason": row["reason"],
            "leaves as": row.get("twin", "named"),
        }
        for row in takedowns.load(tombstones).rows
    ]
    done = not any(proof.left.values()) and not proof.unread
    held = "Every document of these folders was compared with every tombstone; the digests are those of dvc.lock."
    parts = [
        Block("title", "Takedowns: what is left"),
        Block("text", "Nothing that a tombstone names is left." if done else "NOT DONE: run 'dvc repro'."),
        Block("table", rows),
        Block("text", held),
        Block("heading", "Tombstones"),
        Block("table", names),
    ]
    if proof.unread:
        parts.append(Block("text", f"These cannot be read, so nothing is proven of them: {'; '.join(proof.unread)}."))
    if proof.unmatched:
        parts.append(Block("text", f"These name no document that was seen here: {'; '.join(proof.unmatched)}."))
    remains = [{"place": place, "documents": how, "what to do": advice} for place, how, advice in proof.remains]
    none = Block("text", "Nothing was found in caches, downloads, models and earlier versions.")
    found = Block("table", remains) if remains else none
    return [*parts, Block("heading", "What remains"), found, Block("list", REMAINS)]


def _read(folder: Path) -> Path:
    inner = folder / "documents"
    return inner if inner.is_dir() else folder


def _documents(plan: Plan, index: Index) -> list[dict[str, Any]]:
    rows = []
    for identifier in plan.removed:
        about = next(iter(index.rows("documents", "id = ?", [identifier])), {})
        why = plan.twins.get(identifier, "named")
        known = {key: about.get(key) or "" for key in ("source", "url", "license")}
        rows.append({"id": identifier, "leaves as": why, **known})
    return rows


def _models(plan: Plan) -> list[Block]:
    rows = [{"model": row["model"], "how": told(row)} for row in plan.models]
    versions = [{"version": row["model"], "aliases": row["aliases"], "how": told(row)} for row in plan.versions]
    none = Block("text", "No model here was trained on any of them.")
    parts = [Block("table", rows) if rows else none]
    if versions:
        tagged = "Registered versions, tagged 'takedown' in MLflow when the plan is applied:"
        parts += [Block("text", tagged), Block("table", versions)]
    return parts
