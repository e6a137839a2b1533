"""The figures that `dvc plots show` and `dvc plots diff` draw, as CSV files beside the report; dvc.yaml names them.

A file of which nothing was measured has its header alone, so that DVC finds every file that dvc.yaml names.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llm_core.evaluation.catalog import main_metric
from llm_core.formats import names
from llm_core.report.documents import Account
from llm_core.runtime import json_lines

Row = tuple[Any, ...]
HEADERS = {
    "heldout": ("step", "bits per byte"),
    "mix": ("source", "training bytes, %"),
    "drops": ("why", "documents"),
    "bits_per_byte": ("text", "bits per byte"),
    "scores": ("benchmark", "right answers, %"),
}


def write_plot_data(folder: Path, data: Path, evaluations: Mapping[str, Any], counted: Account) -> None:
    """Write `folder/NAME.csv` for every name of HEADERS."""
    log = json_lines.load_rows(data / "models" / "base" / "training_log.jsonl", missing_ok=True)
    key = "heldout_bits_per_byte"
    drops: dict[str, int] = {}
    for drop in counted.drops:
        why = f"{names.reason(drop['reason'])} ({drop['stage']})"
        drops[why] = drops.get(why, 0) + drop["documents"]
    rows: dict[str, Iterable[Row]] = {
        "heldout": [(row["step"], row[key]) for row in log if row.get(key) is not None],
        "mix": [(source, round(100 * share, 4)) for source, share in counted.mix.items()],
        "drops": drops.items(),
        "bits_per_byte": _bits(evaluations),
        "scores": _scores(evaluations),
    }
    folder.mkdir()
    for name, header in HEADERS.items():
        with open(folder / f"{name}.csv", "w", encoding="utf-8", newline="") as stream:
            csv.writer(stream, lineterminator="\n").writerows([header, *rows[name]])


def _bits(evaluations: Mapping[str, Any]) -> Iterator[Row]:
    for model, metrics in evaluations.items():
        for source, score in metrics.get("bits_per_byte", {}).items():
            if score["bits_per_byte"] is not None:
                yield f"{model}: {'all sources' if source == 'all' else source}", score["bits_per_byte"]


def _scores(evaluations: Mapping[str, Any]) -> Iterator[Row]:
    """Shares of right answers; other measures have another scale."""
    for model, metrics in evaluations.items():
        scored = {names.benchmark(task): (score, main_metric(task, score))
                  for task, score in metrics.get("benchmarks", {}).items()}  # fmt: skip
        if answers := metrics.get("answers"):
            scored[f"own questions{names.guessed(answers)}"] = answers, "exact_match"
        for name, (score, metric) in scored.items():
            if metric != "perplexity" and score[metric] is not None:
                yield f"{model}: {name}", round(100 * score[metric], 4)
