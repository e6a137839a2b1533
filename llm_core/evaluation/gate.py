"""The gate to champion: the challenger must be better on every metric, by a margin, with confidence.

Both models are compared on the very same items (documents, for bits per byte), by the paired
bootstrap. Improvements are positive, whatever the metric's direction. Too few common items, or a
metric that one of the two lacks, is no proof, and so no promotion.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.errors import UserError
from llm_core.evaluation.catalog import main_metric
from llm_core.evaluation.results import read_results
from llm_core.evaluation.statistics import Difference, paired_bootstrap
from llm_core.params.evaluation import Evaluation, Gate

Row = dict[str, Any]
Results = dict[str, list[Row]]
FEWEST_ITEMS = 10  # below, a bootstrap's interval is far too narrow


class Decision(NamedTuple):
    """Whether the challenger may become champion, and why, in a line."""

    passed: bool
    reason: str
    differences: dict[str, Difference]


def decide(champion: Results | None, challenger: Results, gate: Gate, seed: int) -> Decision:
    """Judge `challenger` against `champion` (None: there is none yet, then the challenger needs only its scores)."""
    missing = [metric for metric in gate.metrics if metric not in challenger]
    if missing:
        there = ", ".join(sorted(metric for metric in challenger if challenger[metric])) or "no metric"
        return Decision(False, f"not measured: {', '.join(missing)} (its evaluation has {there})", {})
    if champion is None:
        return Decision(True, "there was no champion", {})
    found: dict[str, Difference] = {}
    failures: list[str] = []
    passes: list[str] = []
    for metric in gate.metrics:
        try:
            result = found[metric] = difference(champion, challenger, metric, gate, seed)
        except UserError as error:
            failures.append(str(error))
            continue
        told = f"{metric} {result.difference:+.4f} ({result.low:+.4f} to {result.high:+.4f}, {result.items} items)"
        better = result.share >= gate.confidence and result.items >= FEWEST_ITEMS
        (passes if better else failures).append(told)
    if failures:
        needed = f"more than {gate.margin:g} in {gate.confidence:.0%} of resamples of at least {FEWEST_ITEMS} items"
        return Decision(False, f"not better by {needed}: {'; '.join(failures)}", found)
    return Decision(True, f"better: {'; '.join(passes)}", found)


def judge(champion: Path | None, challenger: Path, gate: Gate, seed: int) -> tuple[bool, str]:
    """The same for two evaluation folders; (passed, reason)."""
    decision = decide(read_results(champion) if champion else None, read_results(challenger), gate, seed)
    return decision.passed, decision.reason


def gate_of(model: str, params: Evaluation) -> Gate:
    """The gate of a model, by its folder's name. Raises UserError where a gate is for a model that there is not."""
    strangers = [name for name in params.gates if name != model and name not in params.models]
    if strangers and "gates" in params.model_fields_set:
        raise UserError(
            f"evaluation.gates names {', '.join(strangers)}, which evaluation.models does not have "
            f"({', '.join(params.models)})"
        )
    return params.gates.get(model, params.gate)


def difference(before: Results, after: Results, metric: str, gate: Gate, seed: int) -> Difference:
    """Improvement of `after` over `before` on their common items. Raises UserError where they have none."""
    old = {(row.get("source"), row["id"]): row for row in before.get(metric, [])}
    pairs = [(old[key], row) for row in after.get(metric, []) if (key := (row.get("source"), row["id"])) in old]
    if not pairs:
        raise UserError(f"{metric}: no items in common")
    first = "bits" if metric == "bits_per_byte" else metric if metric == "exact_match" else None
    first = first or main_metric(metric, pairs[0][1])
    unfit = sum(not all(_is_number(row.get(first)) for row in pair) for pair in pairs)
    if unfit:
        raise UserError(f"{metric}: {unfit} of {len(pairs)} common items have no finite score in one of the two")
    settings: dict[str, Any] = {
        "margin": gate.margin, "confidence": gate.confidence, "resamples": gate.resamples, "seed": seed,
    }  # fmt: skip
    if metric == "bits_per_byte":
        size = [float(row["bytes"]) for row, _ in pairs]
        bits = [[float(row["bits"]) for row in column] for column in zip(*pairs, strict=True)]
        return paired_bootstrap(bits[0], bits[1], weights=(size, size), **settings)
    return paired_bootstrap([new[first] for _, new in pairs], [row[first] for row, _ in pairs], **settings)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def comparable(before: Results, after: Results) -> list[str]:
    """Metrics of which both have at least one common item."""
    return [
        metric
        for metric in after
        if {(row.get("source"), row["id"]) for row in after[metric]}
        & {(row.get("source"), row["id"]) for row in before.get(metric, [])}
    ]
