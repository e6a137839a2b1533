"""Check of a registered model: what the gate said of it."""

from pathlib import Path

from llm_core.checks import Verdict
from llm_core.runtime.storage import read_json


def gate(record: Path) -> Verdict:
    """Passes where the challenger passed its gate; `record` is what `llm-core register` wrote."""
    told = read_json(record)
    before = told["champion_before"]
    figures = {"version": told["version"], "champion before": before or "none"}
    if told["passed"]:
        return Verdict(True, f"version {told['version']} may become champion: {told['reason']}", figures)
    stays = f"version {before} stays champion of {told['name']}" if before else f"{told['name']} has no champion"
    return Verdict(False, f"version {told['version']} stays challenger, {stays}: {told['reason']}", figures)
