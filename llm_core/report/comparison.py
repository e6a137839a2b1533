"""`compare`: two evaluations, or two groups of them, on the items that all have, paired, with intervals.

A group is one recipe trained with several seeds. Its values are averaged item by item, and the spread
between seeds (Welch's t on the groups' seed means) is added to the interval over items, because one training may be
better by chance.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import variance
from typing import Any

from llm_core.errors import UserError
from llm_core.evaluation.gate import Results, comparable, difference
from llm_core.evaluation.results import average, read_results
from llm_core.evaluation.statistics import Difference, student
from llm_core.formats.pages import Block, number, score_text, to_html, to_markdown
from llm_core.params.evaluation import Gate
from llm_core.report import names
from llm_core.report.plots import interval_plot
from llm_core.runtime.storage import output_folder, read_json

Differences = dict[str, Difference | str]
"""metric -> its difference, or why there is none"""


def compare(first: Sequence[Path], second: Sequence[Path], gate: Gate, seed: int) -> list[Block]:
    """Blocks that show how `second` differs from `first`; positive is better, whatever the metric's direction.

    Raises UserError if a folder is not an evaluation, or the two have no item in common.
    """
    before, after = [read_results(folder) for folder in first], [read_results(folder) for folder in second]
    sides = _names(first, second)
    found = differences(average(before), average(after), gate, seed)
    if not found:
        raise UserError("no items in common, so nothing can be compared")
    blocks = [
        Block("title", f"{sides[1]} against {sides[0]}"),
        Block("text", "Differences on the items that both evaluations have, by the paired bootstrap. Positive is "
              "better: for bits per byte the sign is turned."),
        *difference_blocks(found, gate.confidence),
    ]  # fmt: skip
    several = len(first) > 1 and len(second) > 1
    if several:
        blocks += [
            Block("heading", "With the seeds of training"),
            Block("text", f"{len(first)} trainings against {len(second)}: the spread between seeds counts as well."),
            Block("table", seed_rows(before, after, gate, seed)),
        ]
    for name, folders in zip(sides, (first, second), strict=True):
        if len(folders) > 1:
            blocks.append(
                Block("note", f"{name}: {', '.join(map(str, folders))}; the scores below are the first one's.")
            )
    scores = [
        {"metric": key, sides[0]: one.get(key), sides[1]: two.get(key)}
        for one, two in [(_flat(first[0]), _flat(second[0]))]
        for key in one
        if key in two
    ]
    covered = "The choice of items (documents, for bits per byte)"
    if several:
        covered += "; in the table with seeds, the seeds of training, too."
    else:
        covered += ", not the seeds of training. To include them, give several folders for each side, with commas."
    return [
        *blocks,
        Block("heading", "Scores"),
        Block("table", scores),
        Block("heading", "What the intervals cover"),
        Block("text", covered),
    ]


def differences(before: Results, after: Results, gate: Gate, seed: int) -> Differences:
    """Paired differences of all metrics that both have on common items; why not, where a score is no number."""
    found: Differences = {}
    for metric in comparable(before, after):
        try:
            found[metric] = difference(before, after, metric, gate, seed)
        except UserError as error:  # the other metrics are still compared
            found[metric] = str(error)
    return found


def difference_blocks(found: Differences, confidence: float) -> Iterator[Block]:
    """Plot of paired differences, and their table."""
    rows, marks = [], []
    for metric, item in found.items():
        name = names.measure(metric)
        if isinstance(item, str):
            empty = dict.fromkeys(("items", "improvement", f"{confidence:.0%} interval"))
            rows.append({"metric": name} | empty | {"verdict": item, "smallest difference shown": None})
            continue
        rows.append(
            {
                "metric": name,
                "items": item.items,
                "improvement": f"{item.difference:+.4f}",
                f"{confidence:.0%} interval": f"{item.low:+.4f} to {item.high:+.4f}",
                "verdict": verdict(item.low, item.high),
                "smallest difference shown": number(item.detectable),
            }
        )
        marks.append((name, item.difference, item.low, item.high, 0.0))
    yield Block("figure", interval_plot(marks, "improvement"), "Improvement and its interval; the tick is zero.")
    yield Block("table", rows)


def verdict(low: float, high: float) -> str:
    """The verdict that an interval of an improvement supports."""
    return "better" if low > 0 else "worse" if high < 0 else "not distinguishable"


def seed_rows(before: list[Results], after: list[Results], gate: Gate, seed: int) -> list[dict[str, Any]]:
    """One row for each metric: the improvement, its spread between seeds, and an interval that covers items and
    seeds."""
    rows = []
    old, new = average(before), average(after)
    for metric in comparable(old, new):
        over_items = difference(old, new, metric, gate, seed)
        # Each training against the other side's average: only this side's seeds vary.
        ours = [difference(old, one, metric, gate, seed).difference for one in after]
        theirs = [-difference(new, one, metric, gate, seed).difference for one in before]
        low, high = with_seeds(over_items, theirs, ours, gate.confidence)
        rows.append(
            {
                "metric": names.measure(metric),
                "improvement": f"{over_items.difference:+.4f}",
                "sd between seeds": f"{math.sqrt(variance(theirs)):.4f} and {math.sqrt(variance(ours)):.4f}",
                f"{gate.confidence:.0%} interval": f"{low:+.4f} to {high:+.4f}",
                "verdict": verdict(low, high),
            }
        )
    return rows


def with_seeds(
    over_items: Difference, theirs: Sequence[float], ours: Sequence[float], confidence: float
) -> tuple[float, float]:
    """Interval of a difference of two recipes: Welch's for the seeds, widened by the error over items.

    `theirs` and `ours` contain one value for each training, two or more. The two errors are independent and add in
    squares; the degrees of freedom are those of Welch and Satterthwaite, the items' part counted as known.
    """
    parts = [variance(group) / len(group) for group in (theirs, ours)]
    items = ((over_items.high - over_items.low) / 2 / student(confidence, 1e6)) ** 2
    whole = sum(parts) + items
    small = sum(part**2 / (len(group) - 1) for part, group in zip(parts, (theirs, ours), strict=True))
    half = math.sqrt(whole) * student(confidence, whole**2 / small if small else 1e6)
    return over_items.difference - half, over_items.difference + half


def write_comparison(first: Sequence[Path], second: Sequence[Path], out: Path, gate: Gate, seed: int) -> list[Block]:
    """Write `out/compare.html` and `out/compare.md`; the blocks."""
    blocks = compare(first, second, gate, seed)
    with output_folder(out) as folder:
        (folder / "compare.html").write_text(to_html(blocks), encoding="utf-8")
        (folder / "compare.md").write_text(to_markdown(blocks), encoding="utf-8")
    return blocks


def _names(first: Sequence[Path], second: Sequence[Path]) -> list[str]:
    short = [folders[0].name for folders in (first, second)]
    return short if short[0] != short[1] else [str(first[0]), str(second[0])]


def _flat(folder: Path) -> dict[str, str]:
    metrics = read_json(folder / "metrics.json")
    flat = {f"{names.figure('bits_per_byte')}, {source}": score_text(score, "bits_per_byte")
            for source, score in metrics.get("bits_per_byte", {}).items()}  # fmt: skip
    for task, score in metrics.get("benchmarks", {}).items():
        for key in score:
            untouched = key.endswith(("_clean", "_touched")) and not score.get("items_touched")
            if f"{key}_stderr" in score and not untouched:
                flat[f"{names.benchmark(task)}, {names.figure(key)}"] = score_text(score, key)
    if "answers" in metrics:
        flat["own questions, exact match"] = score_text(metrics["answers"], "exact_match")
    return flat
