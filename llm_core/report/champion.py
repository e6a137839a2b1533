"""The models of a run beside the champions before them, on the same items, with the gate's decisions."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.evaluation.gate import Decision, decide, gate_of
from llm_core.evaluation.results import read_results
from llm_core.formats.pages import Block
from llm_core.params import Params
from llm_core.report.comparison import Differences, difference_blocks, differences
from llm_core.runtime.storage import read_json
from llm_core.tracking.registry import previous_champion, registered_name


class Champion(NamedTuple):
    """A champion before a model, and how the model differs from it; positive is better."""

    registered: str
    version: str
    evaluation: Path
    differences: Differences
    decision: Decision
    confidence: float


def champions(data: Path, evaluations: Mapping[str, Any], params: Params) -> dict[str, Champion]:
    """Model -> the champion before it, for the models that had one."""
    found = {}
    for name in evaluations:
        folder = data / "evaluation" / name
        registered = registered_name(params.evaluation.registry, name)
        if previous := previous_champion(registered, read_json(folder / "about.json")["digest"]):
            gate = gate_of(name, params)
            before, after = read_results(previous[1]), read_results(folder)
            compared = differences(before, after, gate, params.seed)
            decision = decide(before, after, gate, params.seed)
            found[name] = Champion(registered, *previous, compared, decision, gate.confidence)
    return found


def against_champions(evaluations: Mapping[str, Any], found: Mapping[str, Champion]) -> Iterator[Block]:
    """The section's blocks."""
    if not found:  # the first screen says so
        return
    yield Block("heading", "Against the previous champion")
    for name in evaluations:
        champion = found.get(name)
        if champion is None:
            yield Block("text", f"{name} has had no champion before it.")
            continue
        told = f"{name} against version {champion.version} of {champion.registered}, on the items that both have:"
        yield Block("text", told)
        if not champion.differences:
            yield Block("text", f"{name} and its champion before were evaluated on other items.")
            continue
        plot, table = difference_blocks(champion.differences, champion.confidence)
        yield plot
        yield Block("group", [table], f"The differences of {name} in figures")
        verdict = "may become champion" if champion.decision.passed else "stays challenger"
        yield Block("text", f"By its gate {name} {verdict}: {champion.decision.reason}.")
