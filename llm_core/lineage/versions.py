"""Registered model versions that were trained on given documents, and the tags that record it.

A version in MLflow outlives the folder from which it was registered: its artifacts contain the
record of its training, from which the steps that saw a document are computed as for a
model in this folder. The token shards, rows and parents that it names are searched for by
digest: in the working folder, in DVC's cache, among the other versions. Where they are gone
the answer is "cannot be determined", which an auditor needs to know too.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llm_core.lineage.models import told, uses
from llm_core.runtime.digests import short_hash
from llm_core.tracking.versions import Registry, registered_models

RECORDS = ("training_data.json", "metrics.json", "config.json")
TAG = "takedown"  # affected or unknown; for each request, `takedown.HASH` says how


def affected(identifiers: set[str]) -> list[dict[str, Any]]:
    """For each registered version that was trained on one of the documents: name, version, model, aliases, and how.

    `how` is that of `models.uses`; a version for which it cannot be determined has `unknown`. [] without a store.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="versions-") as scratch:
        folders: dict[tuple[str, str], Path] = {}
        others: dict[str, Path] = {}
        rows: dict[tuple[str, str], dict[str, Any]] = {}
        for name in registered_models():
            registry = Registry(name)
            for entry in registry.listing():
                key = (name, entry["version"])
                into = Path(scratch) / name / entry["version"]
                into.mkdir(parents=True)
                folders[key] = registry.files(entry["version"], RECORDS, into)
                others |= dict.fromkeys([registry.tags(entry["version"]).get("model_digest", "")], folders[key])
                rows[key] = {"name": name, "version": entry["version"], "aliases": entry["aliases"]}
        names = {folder: f"{name} version {version}" for (name, version), folder in folders.items()}
        known: dict[Path, dict[str, Any]] = {}
        for key, folder in sorted(folders.items()):
            for use in uses(folder, identifiers, others, verify=True, known=known):
                row = {"model": names[folder], **rows[key], **use}
                for told_in in ("descends_from", "unknown"):
                    for place, version in names.items():
                        row |= {told_in: row[told_in].replace(str(place), version)} if told_in in row else {}
                found.append(row)
    return found


def tag(versions: Sequence[Mapping[str, Any]], request: Mapping[str, str]) -> None:
    """Record in the registry that a takedown's request concerns these versions, and how.

    Tags remain when tombstones are removed: that a version was trained on a document remains true.
    """
    key = f"{TAG}.{short_hash(*map(str, request.values()))[:8]}"
    ways: dict[tuple[str, str], list[str]] = {}
    for row in versions:
        ways.setdefault((row["name"], row["version"]), []).append(told(row))
    for (name, version), how in ways.items():
        registry = Registry(name)
        known = any(not way.startswith("cannot be determined") for way in how)
        if known or registry.tags(version).get(TAG) != "affected":
            registry.tag(version, TAG, "affected" if known else "unknown")
        registry.tag(version, key, f"{request['kind']} {request['value']}: {'; '.join(how)} ({request['reason']})")
