"""`compare`: evaluations, or groups of them, each paired with the first on the items that both have, with intervals.

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
from llm_core.evaluation.results import average, read_results, require_different
from llm_core.evaluation.statistics import Difference, student
from llm_core.formats import names
from llm_core.formats.pages import Block, number, score_text, to_html, to_markdown
from llm_core.params.evaluation import Gate
from llm_core.report.plots import interval_plot
from llm_core.runtime.storage import output_folder, read_json

Differences = dict[str, Difference | str]
"""metric -> its difference, or why there is none"""


def compare(groups: Sequence[Sequence[Path]], gate: Gate, seed: int) -> list[Block]:
    """Blocks that show how each group differs from the first; positive is better, whatever the metric's direction.

    Raises UserError if there are fewer than two groups, a folder is not an evaluation or is given twice, or a group has
    no item in common with the first.
    """
    if len(groups) < 2:
        raise UserError("one evaluation alone; name at least two to compare")
    require_different([folder for folders in groups for folder in folders])
    results = [[read_results(folder) for folder in folders] for folders in groups]
    base, *others = _names(groups)
    means = [average(one) for one in results]
    found: dict[str, Differences] = {}
    for name, after in zip(others, means[1:], strict=True):
        found[name] = differences(means[0], after, gate, seed)
        if not found[name]:
            raise UserError(f"{base} and {name} have no items in common that can be compared")
    blocks = [
        Block("title", f"{names.joined(others)} against {base}"),
        Block("text", "Differences on the items that both evaluations have, by the paired bootstrap. Positive is "
              "better: for bits per byte the sign is turned."),
    ]  # fmt: skip
    if len(others) == 1:
        blocks += difference_blocks(found[others[0]], gate.confidence)
    else:
        blocks += _side_by_side(found, gate.confidence)
    seeds = [
        (name, seed_rows(results[0], after, gate, seed))
        for name, after in zip(others, results[1:], strict=True)
        if len(results[0]) > 1 and len(after) > 1
    ]
    if seeds:
        counted = names.joined([f"{len(after)} of {name}" for name, after in zip(others, groups[1:], strict=True)])
        blocks += [
            Block("heading", "With the seeds of training"),
            Block("text", f"{len(groups[0])} trainings of {base}, {counted}: the spread between seeds counts as well."),
        ]
        for name, rows in seeds:
            blocks += [Block("subheading", name)] if len(others) > 1 else []
            blocks.append(Block("table", rows))
    for name, folders in zip((base, *others), groups, strict=True):
        if len(folders) > 1:
            blocks.append(
                Block("note", f"{name}: {', '.join(map(str, folders))}; the scores below are the first one's.")
            )
    flat = [_flat(folders[0]) for folders in groups]
    scores: list[dict[str, str | None]] = [
        {"metric": key, **{name: one.get(key) for name, one in zip((base, *others), flat, strict=True)}}
        for key in flat[0]
        if any(key in one for one in flat[1:])
    ]
    covered = "The choice of items (documents, for bits per byte)"
    if seeds:
        covered += "; in the tables with seeds, the seeds of training, too."
    else:
        covered += ", not the seeds of training. To include them, give several folders for each side, with commas."
    if len(others) > 1:
        covered += f" Of many {gate.confidence:.0%} intervals, each for one comparison, some exclude zero by chance."
    return [
        *blocks,
        Block("heading", "Scores"),
        Block("table", scores),
        Block("heading", "What the intervals cover"),
        Block("text", covered),
    ]


def _side_by_side(found: dict[str, Differences], confidence: float) -> Iterator[Block]:
    """For each metric a plot with one interval for each evaluation; under them, folded, all figures of each."""
    metrics = list(dict.fromkeys(metric for one in found.values() for metric in one))
    columns = []
    for metric in metrics:
        items = [(name, one[metric]) for name, one in found.items() if metric in one]
        marks = [(name, item.difference, item.low, item.high, 0.0) for name, item in items if not isinstance(item, str)]
        if marks:
            plot = Block("figure", interval_plot(marks, "improvement"), f"{names.measure(metric)}; the tick is zero.")
            columns.append(Block("column", [plot]))
    yield Block("pair", columns)
    for name, one in found.items():
        _, table = difference_blocks(one, confidence)
        yield Block("group", [table], f"All differences of {name} in figures")


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
    seeds; why not, where a metric cannot be compared."""
    rows: list[dict[str, Any]] = []
    old, new = average(before), average(after)
    for metric in comparable(old, new):
        try:
            over_items = difference(old, new, metric, gate, seed)
            # Each training against the other side's average: only this side's seeds vary.
            ours = [difference(old, one, metric, gate, seed).difference for one in after]
            theirs = [-difference(new, one, metric, gate, seed).difference for one in before]
        except UserError as error:  # the other metrics are still compared
            empty = dict.fromkeys(("improvement", "sd between seeds", f"{gate.confidence:.0%} interval"))
            rows.append({"metric": names.measure(metric)} | empty | {"verdict": str(error)})
            continue
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


def write_comparison(groups: Sequence[Sequence[Path]], out: Path, gate: Gate, seed: int) -> list[Block]:
    """Write `out/compare.html` and `out/compare.md`; the blocks."""
    blocks = compare(groups, gate, seed)
    with output_folder(out) as folder:
        (folder / "compare.html").write_text(to_html(blocks), encoding="utf-8")
        (folder / "compare.md").write_text(to_markdown(blocks), encoding="utf-8")
    return blocks


def _names(groups: Sequence[Sequence[Path]]) -> list[str]:
    """A name for each group: its first folder's own, or that folder's whole path where two have the same."""
    short = [folders[0].name for folders in groups]
    return short if len(set(short)) == len(short) else [str(folders[0]) for folders in groups]


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
        answers = metrics["answers"]
        flat["own questions, exact match"] = score_text(answers, "exact_match") + names.guessed(answers)
    return flat
