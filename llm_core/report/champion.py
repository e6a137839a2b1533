"""The models of a run beside the champions before them, on the same items, with the gate's decisions."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.evaluation.gate import Decision, decide, gate_of
from llm_core.evaluation.results import read_results
from llm_core.formats import names
from llm_core.formats.pages import Block
from llm_core.params import Params
from llm_core.report.comparison import Differences, difference_blocks, differences
from llm_core.runtime.storage import read_json
from llm_core.tracking.registry import previous_champion, registered_name


class Champion(NamedTuple):
    """A champion before a model, and how the model differs from it; positive is better."""

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
            found[name] = Champion(*previous, compared, decision, gate.confidence)
    return found


def against_champions(evaluations: Mapping[str, Any], found: Mapping[str, Champion]) -> Iterator[Block]:
    """The section's blocks."""
    if not found:  # the first screen says so
        return
    yield Block("heading", "Against the previous champion")
    columns = [Block("column", list(_against(name, champion))) for name, champion in found.items()]
    if alone := [name for name in evaluations if name not in found]:
        columns.append(Block("text", f"{names.joined(alone)}: no champion before."))
    yield Block("pair", columns)


def _against(name: str, champion: Champion) -> Iterator[Block]:
    if not champion.differences:
        yield Block("text", f"{name} and its champion before were evaluated on other items.")
        return
    main = {metric: item for metric, item in champion.differences.items() if "/" not in metric}
    plot, _ = difference_blocks(main or champion.differences, champion.confidence)
    told = f"{name} against version {champion.version}, on common items; the tick is zero"
    yield plot._replace(caption=told)
    _, table = difference_blocks(champion.differences, champion.confidence)
    reason = re.sub(
        r"[a-z]\w*(/\w+)?",
        lambda word: names.measure(word[0]) if "_" in word[0] or word[0] in champion.differences else word[0],
        champion.decision.reason,
    )
    verdict = "may become champion" if champion.decision.passed else "stays challenger"
    judged = Block("text", f"By its gate {name} {verdict}: {reason}.")
    yield Block("group", [judged, table], f"The gate's reason, and all differences of {name} in figures")
