"""`compare`: two evaluations on the items that both have, paired, with intervals and what they can show."""

from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.evaluation.gate import comparable, difference
from llm_core.evaluation.results import read_results
from llm_core.params.evaluation import Gate
from llm_core.report.blocks import Block, to_html, to_markdown
from llm_core.report.plots import interval_plot
from llm_core.storage import output_folder, read_json


def compare(first: Path, second: Path, gate: Gate, seed: int) -> list[Block]:
    """Blocks that tell how `second` differs from `first`; positive is better, whatever the metric's direction.

    Raises UserError where a folder is no evaluation or the two have no item in common.
    """
    before, after = read_results(first), read_results(second)
    rows: list[dict[str, Any]] = []
    marks = []
    for metric in comparable(before, after):
        found = difference(before, after, metric, gate, seed)
        certain = "better" if found.low > 0 else "worse" if found.high < 0 else "not told apart"
        rows.append(
            {
                "metric": metric,
                "items": found.items,
                "improvement": f"{found.difference:+.4f}",
                f"{gate.confidence:.0%} interval": f"{found.low:+.4f} to {found.high:+.4f}",
                "verdict": certain,
                "smallest difference shown": found.detectable,
            }
        )
        marks.append((metric, found.difference, found.low, found.high, 0.0))
    if not rows:
        raise UserError(f"{first} and {second}: no items in common, nothing can be compared")
    names = [first.name, second.name] if first.name != second.name else [str(first), str(second)]
    scores = [
        {"metric": key, names[0]: one.get(key), names[1]: two.get(key)}
        for one, two in [(_flat(first), _flat(second))]
        for key in one
        if key in two
    ]
    return [
        Block("title", f"{names[1]} against {names[0]}"),
        Block("text", "Differences on the items that both evaluations have, by the paired bootstrap. Positive is "
              "better: for bits per byte the sign is turned."),
        Block("table", rows),
        Block("figure", interval_plot(marks, "improvement"), "Improvement and its interval; the tick is zero."),
        Block("heading", "Scores"),
        Block("table", scores),
        Block("heading", "What the intervals cover"),
        Block("text", "The choice of items (documents, for bits per byte), not the seeds of training."),
    ]  # fmt: skip


def write_comparison(first: Path, second: Path, out: Path, gate: Gate, seed: int) -> list[Block]:
    """Write `out/compare.html` and `out/compare.md`; the blocks."""
    blocks = compare(first, second, gate, seed)
    with output_folder(out) as folder:
        (folder / "compare.html").write_text(to_html(blocks), encoding="utf-8")
        (folder / "compare.md").write_text(to_markdown(blocks), encoding="utf-8")
    return blocks


def _flat(folder: Path) -> dict[str, str]:
    metrics = read_json(folder / "metrics.json")
    groups = {"bits per byte": metrics.get("bits_per_byte", {}), "benchmark": metrics.get("benchmarks", {})}
    groups["answers"] = {"": metrics["answers"]} if "answers" in metrics else {}
    flat = {}
    for group, scores in groups.items():
        for name, score in scores.items():
            for key in score:
                if f"{key}_stderr" in score:
                    error = score[f"{key}_stderr"]
                    text = f"{score[key]:.5g}" + (
                        f"\u00a0±\u00a0{error:.4f}" if error is not None else "\u00a0(one document)"
                    )
                    flat[f"{group} {name} {key if group != 'bits per byte' else ''}".strip()] = text
    return flat
