"""The journey of one document: its source, the decision of each stage, and where its text is now.

A journey is plain data (`Journey`), so that the command line, a test and a report show the
same. Token shards are looked up in the shards themselves, training steps by the loader's
own arithmetic (`llm_core.lineage.training`), never by a copy that could differ.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from llm_core.errors import UserError
from llm_core.formats.schema import read_metadata
from llm_core.formats.token_shards import open_shard
from llm_core.lineage.index import Index
from llm_core.lineage.models import told, trained_models
from llm_core.lineage.recipes import decision_threshold, verdict
from llm_core.params import Params
from llm_core.runtime.storage import glob_files

SHOWN_STEPS = 12


@dataclass
class Journey:
    """Everything known about one document."""

    document: dict[str, Any]
    """id, source, url, license, created, metadata"""
    decisions: list[dict[str, Any]]
    """ledger rows in the order of the stages, with the `threshold` that decided, where params.yaml names it"""
    cluster: list[dict[str, Any]] = field(default_factory=list)
    """members of its duplicate cluster"""
    tokens: list[dict[str, Any]] = field(default_factory=list)
    """where its tokens lie: id, part, shard, row, tokens"""
    training: list[dict[str, Any]] = field(default_factory=list)
    """models it went into: model, and how (`models.uses`)"""
    recipes: list[dict[str, Any]] = field(default_factory=list)
    """verdicts of other recipes on it (`recipes.verdict`)"""

    @property
    def fate(self) -> str:
        """`kept`, or the stage and reason that dropped it."""
        for row in self.decisions:
            if row["verdict"] == "dropped":
                return f"dropped by {row['stage']}: {row['reason']}"
        return "kept"

    def as_dict(self) -> dict[str, Any]:
        """The whole journey, in types that JSON has."""
        return {"fate": self.fate, **asdict(self)}

    def lines(self) -> list[str]:
        """The journey as text."""
        about = self.document
        lines = [f"document {about['id']} of {about['source']}: {self.fate}"]
        lines += [f"  {key}: {about[key]}" for key in ("url", "license", "created") if about.get(key)]
        title = read_metadata(about.get("metadata")).get("title")
        lines += [f"  title: {title}"] if title else []
        for row in self.decisions:
            why = "".join(f" {row[key]}" for key in ("reason", "detail") if row.get(key))
            score = _score(row)
            survivor = row.get("survivor_id")
            stead = f", {survivor} kept instead" if survivor and survivor != about["id"] else ""
            place = f"  [{row['shard']}:{row['offset']}]" if row.get("shard") else ""
            lines.append(f"  {row['stage']:<13} {row['verdict']}{why}{score}{stead}{place}")
        if len(self.cluster) > 1:
            members = ", ".join(f"{row['id']} ({row['source']})" for row in self.cluster[:8])
            lines.append(f"  duplicates    {len(self.cluster)} in its cluster: {members}")
        for row in self.recipes:
            why = f": {row['reason']}" if row["reason"] else ""
            spared = f" ({about['source']} is exempt in cleaning.exempt)" if row["exempt"] else ""
            word = "would drop it" if row["verdict"] == "dropped" else "would keep it"
            lines.append(f"  recipe        {row['recipe']} {word}{why}{_score(row)}{spared}")
        for row in self.tokens:
            lines.append(f"  tokens        {row['tokens']} in {row['shard']}, row {row['row']} ({row['part']})")
        for row in self.training:
            steps = [] if "descends_from" in row else row.get("steps", [])
            shown = ", ".join(map(str, steps[:SHOWN_STEPS])) + (", …" if len(steps) > SHOWN_STEPS else "")
            lines.append(f"  model         {row['model']}: {told(row)}" + (f": {shown}" if shown else ""))
        return lines


def _score(row: dict[str, Any]) -> str:
    """The figure that a rule measured and its threshold, as text."""
    if row.get("score") is None:
        return ""
    limit = f", threshold {row['threshold']:.4g}" if row.get("threshold") is not None else ""
    return f" (score {row['score']:.4g}{limit})"


def journey(
    index: Index, identifier: str, data: Path, params: Params | None = None, recipes: Sequence[str] = ()
) -> Journey:
    """Assemble the journey of a document through everything below the folder `data`.

    With `params` decisions have the thresholds of these params, and each of `recipes` judges the document again.
    Raises UserError if no source delivered a document of that id, or there is no such recipe.
    """
    documents = index.rows("documents", "id = ?", [identifier])
    decisions = index.rows("journeys", "id = ?", [identifier], "place, ledger")
    if not documents and not decisions:
        raise UserError(f"{identifier}: no document of that id below {data}")
    document = documents[0] if documents else {"id": identifier, "source": decisions[0]["source"]}
    if params:
        decisions = [{**row, "threshold": decision_threshold(row, params)} for row in decisions]
    found = Journey(document, decisions)
    if params and recipes:
        places = ((row["shard"], row["offset"]) for row in decisions if row["stage"] in ("clean", "filter"))
        read = next((place for place in places if all(part is not None for part in place)), None)
        found.recipes = [verdict(str(data / "raw"), read, identifier, name, params.cleaning) for name in recipes]
    cluster = next((row["cluster_id"] for row in decisions if row["cluster_id"]), None)
    if cluster:
        found.cluster = index.rows("clusters", "cluster_id = ?", [cluster], "id")
    found.tokens = token_rows(data / "tokens", {identifier})
    if found.tokens:  # held-out documents may have become finetuning rows too
        found.training = trained_models(data / "models", {identifier})
    return found


def token_rows(folder: Path, identifiers: set[str]) -> list[dict[str, Any]]:
    """Rows of the token shards below `folder` that hold one of the documents (one scan of the id columns).

    Raises UserError at a file that holds no tokens.
    """
    found = []
    wanted = pa.array(sorted(identifiers), pa.string())
    for file in glob_files(folder, "*/*.arrow"):
        first = 0
        for batch in open_shard(file)[1]:
            for row in pc.indices_nonzero(pc.is_in(batch.column("id"), wanted)).to_pylist():
                found.append(
                    {
                        "id": batch.column("id")[row].as_py(),
                        "part": file.parent.name,
                        "shard": str(file),
                        "row": first + row,
                        "tokens": len(batch.column("input_ids")[row]),
                    }
                )
            first += batch.num_rows
    return found
