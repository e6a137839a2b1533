"""The journey of one document: where it came from, what each stage decided, where it ended.

A journey is plain data (`Journey`), so that the command line, a test and a report show the
same. Token shards are looked up in the shards themselves, training steps by the loader's
own arithmetic (`llm_core.pretraining.batches`), never by a copy that could differ.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.lineage.index import Index


@dataclass
class Journey:
    """Everything known about one document."""

    document: dict[str, Any]  # id, source, url, license, created, metadata
    decisions: list[dict[str, Any]]  # ledger rows in the order of the stages
    cluster: list[dict[str, Any]] = field(default_factory=list)  # members of its duplicate cluster
    tokens: list[dict[str, Any]] = field(default_factory=list)  # part (train, heldout), shard, row, tokens
    training: list[dict[str, Any]] = field(default_factory=list)  # model, steps

    @property
    def fate(self) -> str:
        """`kept`, or the stage and reason that dropped it."""
        for row in self.decisions:
            if row["verdict"] == "dropped":
                return f"dropped by {row['stage']}: {row['reason']}"
        return "kept"


def journey(index: Index, identifier: str, data: Path) -> Journey:
    """Assemble the journey of a document.

    Raises UserError when no source delivered a document of that id.
    """
    documents = index.rows("documents", "id = ?", [identifier])
    decisions = index.rows("journeys", "id = ?", [identifier], "place, ledger")
    if not documents and not decisions:
        raise UserError(f"{identifier}: no document of that id below {data}")
    document = documents[0] if documents else {"id": identifier, "source": decisions[0]["source"]}
    found = Journey(document, decisions)
    cluster = next((row["cluster_id"] for row in decisions if row["cluster_id"]), None)
    if cluster:
        found.cluster = index.rows("clusters", "cluster_id = ?", [cluster], "id")
    return found
