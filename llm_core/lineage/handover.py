"""The report of a takedown that can be handed over: what was asked, what left, what is proven, what remains.

Made twice of the same parts: with the plan (what will leave, what it touches, who is concerned) and
after the rebuild with `--check` (that nothing is left). No document's text is in it.
"""

from pathlib import Path
from typing import Any

from llm_core.corpus import takedowns
from llm_core.lineage.index import Index
from llm_core.lineage.models import told
from llm_core.lineage.page import table
from llm_core.lineage.proof import Proof
from llm_core.lineage.takedown import Plan
from llm_core.runtime.digests import content_digest

REMAINS = """\
- The text stays in `data/raw`, `data/clean`, in DVC's cache and in its remotes until it is deleted there: `dvc gc` \
does that once no version that is kept holds it; a source that still offers it is read again by the next download.
- Models do not unlearn. Those listed were trained with the document: retrain them (`dvc repro`) or withdraw them.
- A tokenizer trained with the document keeps the merges it learned, unless it is trained again."""


def plan_report(plan: Plan, index: Index, applied: bool) -> str:
    """The plan as Markdown."""
    request = plan.request
    parts = [
        f"# Takedown: {request['kind']} {request['value']}",
        f"Reason given: {request['reason']}. "
        + ("The tombstones are written; `dvc repro` rebuilds the data." if applied else "Only a plan so far."),
        "## Documents that leave",
        table(_documents(plan, index)),
    ]
    if plan.promoted:
        parts.append(f"In {len(plan.promoted)} clusters of duplicates another document takes the removed one's place.")
    shards = [
        {"folder": name, "shards": total, "holding a removed document": hit}
        for name, (hit, total) in plan.shards.items()
    ]
    tokenizer = plan.told_tokenizer()
    parts += ["## Shards", table(shards), f"{tokenizer[0].upper()}{tokenizer[1:]}.", "## Models", *_models(plan)]
    return "\n\n".join([*parts, "## What remains", REMAINS]) + "\n"


def check_report(proof: Proof, data: Path, tombstones: Path) -> str:
    """The proof after the rebuild as Markdown: every tombstone, and how many such documents are left where."""
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
    verdict = (
        "Nothing that a tombstone names is left." if not any(proof.left.values()) else "NOT DONE: run `dvc repro`."
    )
    parts = ["# Takedowns: what is left", verdict, table(rows)]
    parts.append("Every document of these folders was held against every tombstone; the digests are those of dvc.lock.")
    parts += ["## Tombstones", table(names)]
    if proof.unmatched:
        parts.append(f"These name no document that was seen here: {'; '.join(proof.unmatched)}.")
    remains = [{"place": place, "documents": how, "what to do": advice} for place, how, advice in proof.remains]
    found = table(remains) or "Nothing was found in caches, downloads, models and earlier versions."
    return "\n\n".join([*parts, "## What remains", found, REMAINS]) + "\n"


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


def _models(plan: Plan) -> list[str]:
    rows = [{"model": row["model"], "how": told(row)} for row in plan.models]
    versions = [{"version": row["model"], "aliases": row["aliases"], "how": told(row)} for row in plan.versions]
    parts = [table(rows) if rows else "No model here was trained on any of them."]
    if versions:
        parts += ["Registered versions, tagged `takedown` in MLflow when the plan is applied:", table(versions)]
    return parts
