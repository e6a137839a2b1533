"""The gate to champion: the challenger must be better on every metric, by a margin, with confidence.

Both models are compared on the very same items (documents, for bits per byte), by the paired
bootstrap. Improvements are positive, whatever the metric's direction. A metric that the challenger lacks, or one on
too few items, is no proof, and so no promotion. Own questions are resampled by group, where it is known.

A champion that was evaluated on other items (another corpus, other rows) cannot be compared with: a new comparison
begins with the challenger, which becomes champion, and the reason says so. Otherwise a changed corpus would close the
gate for ever.
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.errors import UserError
from llm_core.evaluation.catalog import main_metric
from llm_core.evaluation.gold import GOLD, LOWER_IS_BETTER
from llm_core.evaluation.results import groups_of, read_results
from llm_core.evaluation.statistics import Difference, paired_bootstrap
from llm_core.params import Params
from llm_core.params.evaluation import Gate
from llm_core.params.finetuning import methods

Row = dict[str, Any]
Results = dict[str, list[Row]]
KNOBS = "in evaluation.gate, or in finetuning.runs.NAME.gate for a finetune"
FEWEST_ITEMS = 10  # below, a bootstrap's interval is far too narrow


class Decision(NamedTuple):
    """Whether the challenger may become champion, and why, in a line."""

    passed: bool
    reason: str
    differences: dict[str, Difference]


def decide(champion: Results | None, challenger: Results, gate: Gate, seed: int) -> Decision:
    """Judge `challenger` against `champion` (None: there is none yet, then the challenger needs only its scores)."""
    missing = [metric for metric in gate.metrics if not _rows(challenger, metric)]
    if missing:
        there = ", ".join(sorted(comparable(challenger, challenger))) or "no metric"
        reason = f"not measured: {', '.join(missing)} (its evaluation has {there}); `metrics` {KNOBS} says which"
        if guessed := [metric for metric in missing if challenger.get(metric)]:
            reason = f"{reason}; {', '.join(guessed)}: its questions can only be guessed, and guesses are no measure"
        return Decision(False, reason, {})
    if champion is None:
        return Decision(True, "there was no champion", {})
    found: dict[str, Difference] = {}
    failures: list[str] = []
    passes: list[str] = []
    common = [metric for metric in gate.metrics if _share_items(champion, challenger, metric)]
    others = ", ".join(metric for metric in gate.metrics if metric not in common)
    if not common:
        reason = f"the champion was evaluated on other items ({others}: too few in common), so a new comparison begins"
        return Decision(True, reason, {})
    for metric in common:
        try:
            result = found[metric] = difference(champion, challenger, metric, gate, seed)
        except UserError as error:
            failures.append(str(error))
            continue
        items = f"{result.items} items" + (f" in {result.groups} groups" if result.groups else "")
        told = f"{metric} {result.difference:+.4f} ({result.low:+.4f} to {result.high:+.4f}, {items})"
        better = result.share >= gate.confidence and result.items >= FEWEST_ITEMS
        (passes if better else failures).append(told)
    if failures:
        needed = f"more than {gate.margin:g} in {gate.confidence:.0%} of resamples of at least {FEWEST_ITEMS} items"
        reason = (
            f"not better by {needed}: {'; '.join(failures)}; `margin` and `confidence` {KNOBS} say how much is needed"
        )
        return Decision(False, reason, found)
    aside = f"; on other items than the champion, so not compared: {others}" if others else ""
    return Decision(True, f"better: {'; '.join(passes)}{aside}", found)


def judge(champion: Path | None, challenger: Path, gate: Gate, seed: int) -> tuple[bool, str]:
    """The same for two evaluation folders; (passed, reason)."""
    decision = decide(read_results(champion) if champion else None, read_results(challenger), gate, seed)
    return decision.passed, decision.reason


def _share_items(champion: Results, challenger: Results, metric: str) -> bool:
    """Whether both were evaluated on the same items of a metric: enough of them, or all that the champion has."""
    old = {(row.get("source"), row["id"]) for row in _rows(champion, metric)}
    common = old & {(row.get("source"), row["id"]) for row in _rows(challenger, metric)}
    return bool(common) and (len(common) >= FEWEST_ITEMS or common == old)


def gate_of(model: str, params: Params) -> Gate:
    """The gate of a model, by its folder's name: that of its finetune, or else `evaluation.gate`.

    A finetune without a gate of its own is compared by its method's score.
    """
    run = params.finetuning.find(model)
    if run is None:
        return params.evaluation.gate
    return run.gate or params.evaluation.gate.model_copy(update={"metrics": [methods()[run.method].score]})


def difference(before: Results, after: Results, metric: str, gate: Gate, seed: int) -> Difference:
    """Improvement of `after` over `before` on their common items. Raises UserError where they have none, or where all
    are of one group.

    `metric` is `bits_per_byte`, a benchmark (its first metric), or BENCHMARK/METRIC (`arc_easy/gold_bpb`).
    """
    old = {(row.get("source"), row["id"]): row for row in _rows(before, metric)}
    pairs = [(old[key], row) for row in _rows(after, metric) if (key := (row.get("source"), row["id"])) in old]
    if not pairs:
        raise UserError(f"{metric}: no items in common")
    task, _, named = metric.partition("/")
    first = "bits" if metric == "bits_per_byte" else named or (metric if metric in pairs[0][1] else None)
    first = first or main_metric(task, pairs[0][1])
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
    older, newer = ([row[first] for row in column] for column in zip(*pairs, strict=True))
    if first in LOWER_IS_BETTER:
        older, newer = newer, older
    if groups := groups_of([row for row, _ in pairs]):
        if len(set(groups)) < 2:
            raise UserError(
                f"{metric}: all {len(pairs)} common items are of one group ({groups[0]}), which says nothing of others"
            )
        settings["groups"] = groups
    return paired_bootstrap(newer, older, **settings)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _rows(results: Results, metric: str) -> list[Row]:
    """The rows of a metric; of BENCHMARK/METRIC those that have it; of own questions those that can be answered."""
    task, _, named = metric.partition("/")
    rows = results.get(metric) or results.get(task, [])
    rows = [row for row in rows if not named or named in row]
    return [row for row in rows if row.get("answerable", True)]


def comparable(before: Results, after: Results) -> list[str]:
    """Metrics of which both have at least one common item; beside a benchmark's name its `gold_bpb` and `margin`."""
    found = []
    for task in after:
        for metric in (task, *(f"{task}/{name}" for name in GOLD)):
            old, new = ({(row.get("source"), row["id"]) for row in _rows(one, metric)} for one in (before, after))
            if old & new:
                found.append(metric)
    return found
