"""The report's section about finetuned models: each compared with its parent, in figures, plots and answers.

Reads what `finetune` leaves in a model's folder: metrics.json, training_log.jsonl, samples.json and, of a classifier,
confusion.csv and reliability.csv.
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.formats import names
from llm_core.formats.pages import Block, Row, begun, ended
from llm_core.report.plots import interval_plot, line_plot
from llm_core.runtime import json_lines
from llm_core.runtime.storage import read_json
from llm_core.training.finetuning.method import Method
from llm_core.training.finetuning.registry import methods

LABELS = 12  # a wider confusion matrix is not readable
SAMPLES = 6
PROMPT, ANSWER = 160, 80  # letters shown
DECIMAL = re.compile(r"\d+\.\d+")


def finetuned(data: Path) -> Iterator[Block]:
    """A section for each finetuned model below `data/models`."""
    for file in sorted(data.glob("models/*/metrics.json")):
        metrics = read_json(file)
        if "method" in metrics:
            yield from _model(file.parent, metrics)


def _model(folder: Path, metrics: Row) -> Iterator[Block]:
    training, parent = metrics["training"], metrics["parent"]
    share = training["trained_parameters"] / max(training["parameters"], 1)
    yield Block("heading", f"Finetuning: {folder.name}")
    yield Block(
        "text",
        f"Method {metrics['method']} ({metrics['adapter']}, {share:.2%} of the weights trained, {training['steps']} "
        f"steps) from {Path(parent['path']).name} ({parent['digest'][:12]}).",
    )
    method = methods().get(metrics["method"])
    if method is None:
        yield Block("note", f"{metrics['method']} is a method that is not installed here; its figures have no titles.")
    figures = []
    if plot := interval_plot(list(_shares(metrics, method)), "%"):
        figures.append(Block("figure", plot, f"{folder.name}: shares of its test rows, with 95 % intervals"))
    figures += [Block("figure", plot, f"{folder.name}: {caption}") for plot, caption in _curves(folder, method)]
    folded = [
        Block("group", list(_figures(folder, metrics, method)), f"All figures of {folder.name}"),
        Block("group", list(_samples(folder)), f"Answers of {folder.name} before and after finetuning"),
    ]
    yield Block("pair", [Block("column", [*figures[:1], *folded]), *figures[1:]])


def _curves(folder: Path, method: Method | None) -> Iterator[tuple[str, str]]:
    """(plot, caption) of the training loss, with the held-out loss where there is one, and of the method's curves."""
    rows = json_lines.load_rows(folder / "training_log.jsonl", missing_ok=True)
    curves = {key: [(row["step"], row[key]) for row in rows if key in row]
              for key in ("loss", *(method.curves if method else ()))}  # fmt: skip
    losses = {"training loss": curves.pop("loss"), "held-out loss": curves.pop("eval_loss", [])}
    unit = f", {method.loss}" if method and method.loss else ""
    if plot := line_plot({name: points for name, points in losses.items() if points}, "step", "loss", smooth=True):
        yield plot, f"loss{unit}; the faint line is not smoothed"
    for key, points in curves.items():
        curve = method.curves[key] if method else None
        if curve and len(points) > 1:
            yield line_plot({curve.axis: points}, "step", curve.axis), curve.caption


def _figures(folder: Path, metrics: Row, method: Method | None) -> Iterator[Block]:
    yield Block("table", list(_before_after(metrics, method)))
    if compared := list(_beside_baselines(metrics, method)):
        yield Block("text", "Beside baselines on the same test rows, with 95 % intervals.")
        yield Block("table", compared)
    if changes := list(_changes(metrics, method)):
        yield Block("table", changes)
        yield Block(
            "note", "p: one-sided sign test over the same test items, for the hypothesis that the rise is chance."
        )
    yield from _per_label(folder)
    yield from _classifier(folder)


def _shares(metrics: Row, method: Method | None) -> Iterator[tuple[str, float, float, float, None]]:
    """Figures with an interval within 0 and 1, in percent: before and after finetuning, and of the baselines."""
    sides = {side: metrics.get(side, {}) for side in ("before", "after")}
    baselines = metrics.get("baseline", {})
    sides |= {names.words(name): value for name, value in baselines.items() if _is_model(value)}
    known = sides["after"]
    main = [name for name in sorted(known) if name.rpartition("_")[0] not in known]  # not those of a kind of row
    rows = [(f"{_title(method, name)}, {side}", value) for name in main
            for side, figures in sides.items() if (value := figures.get(name))]  # fmt: skip
    rows += [(_title(method, name), value) for name, value in baselines.items() if not _is_model(value)]
    for title, value in rows:
        if isinstance(value, dict):
            found = [value.get("mean", value.get("value")), value.get("low"), value.get("high")]
            shares = [100 * part for part in found if isinstance(part, int | float) and 0 <= part <= 1]
            if len(shares) == 3:
                yield title, shares[0], shares[1], shares[2], None


def _title(method: Method | None, name: str) -> str:
    """A figure's title with its unit; its name where the method is not installed."""
    if method is None:
        return name.replace("_", " ")
    figure = method.figure(name)
    return f"{figure.title}, {figure.unit}" if figure.unit else figure.title


def _before_after(metrics: Row, method: Method | None) -> Iterator[Row]:
    before, after = metrics["before"], metrics["after"]
    for name in sorted(before.keys() | after.keys()):
        values = {"before": _figure(before.get(name)), "after": _figure(after.get(name))}
        yield {"figure": _title(method, name), **values, "baseline": None}
    for name, value in metrics.get("baseline", {}).items():
        if _is_model(value):
            continue
        yield {"figure": _title(method, name), "before": None, "after": None, "baseline": _figure(value)}
    for name in ("temperature", "calibration_error"):
        value = metrics.get(name)
        if isinstance(value, dict):  # of the softmax, and after temperature scaling
            yield {
                "figure": _title(method, name) + ", raw and calibrated",
                "before": _figure(value["raw"]),
                "after": _figure(value["calibrated"]),
                "baseline": None,
            }
        elif value is not None:
            yield {"figure": _title(method, name), "before": None, "after": _figure(value), "baseline": None}


def _beside_baselines(metrics: Row, method: Method | None) -> Iterator[Row]:
    """A row for each model and a column for each figure, where baselines have figures by the model's own names."""
    known = {_title(method, name): value for name, value in metrics.get("baseline", {}).items() if _is_model(value)}
    if not known:
        return
    models = known | {"before finetuning": metrics["before"], "after finetuning": metrics["after"]}
    names = sorted({figure for value in known.values() for figure in value})
    for model, figures in models.items():
        yield {"model": model} | {_title(method, name): _with_interval(figures.get(name)) for name in names}


def _is_model(value: Any) -> bool:
    """Whether a baseline is several figures by name, and not one figure."""
    return isinstance(value, dict) and not value.keys() & {"mean", "value"}


def _with_interval(value: Any) -> str | None:
    """`0.8500 (0.8000 to 0.9000)`; as `_figure` shows it where there is no interval."""
    if not isinstance(value, dict) or value.get("low") is None or value.get("high") is None:
        return _figure(value)
    return f"{value.get('mean', value.get('value')):.4f} ({value['low']:.4f} to {value['high']:.4f})"


def _changes(metrics: Row, method: Method | None) -> Iterator[Row]:
    for name in sorted(key for key in metrics if key.endswith("_change")):
        change = metrics[name]
        yield {
            "change of": _title(method, name.removesuffix("_change")),
            "by": _with_error(change["change"], change["change_standard_error"], "+.4f"),
            "items": change["items"],
            "p": _chance(change["p_value"]),
        }
    for name, value in metrics.items():
        if isinstance(value, dict) and {"mean", "standard_error", "items"} <= value.keys():
            shown = {"by": _figure(value), "items": value["items"], "p": _chance(value.get("p_value"))}
            yield {"change of": _title(method, name), **shown}
    if "win_rate" in metrics:
        won = metrics["win_rate"]
        said = f"{won['rate']:.3f} ({won['wins']} won, {won['losses']} lost, {won['ties']} tied; judge: {won['judge']})"
        items = won["wins"] + won["losses"] + won["ties"]
        yield {"change of": _title(method, "win_rate"), "by": said, "items": items, "p": _chance(won["p_value"])}


def _chance(p: float | None) -> float | str | None:
    return "< 0.0001" if p is not None and p < 0.0001 else p


def _per_label(folder: Path) -> Iterator[Block]:
    file = folder / "per_label.csv"
    if file.is_file():
        with open(file, encoding="utf-8", newline="") as stream:
            rows = [
                {name: f"{float(value):.4f}" if DECIMAL.fullmatch(value) else value for name, value in row.items()}
                for row in csv.DictReader(stream)
            ]
        yield Block("text", "Each label on test rows.")
        yield Block("table", rows)


def _classifier(folder: Path) -> Iterator[Block]:
    if (folder / "confusion.csv").is_file():
        with open(folder / "confusion.csv", encoding="utf-8", newline="") as stream:
            counts = Counter((row["actual"], row["predicted"]) for row in csv.DictReader(stream))
        labels = sorted({label for pair in counts for label in pair})
        if len(labels) <= LABELS:
            rows = [{"actual": actual} | {f"as {said}": counts[actual, said] for said in labels} for actual in labels]
            yield Block("text", "Confusion matrix on test rows.")
            yield Block("table", rows)
        else:
            wrong = Counter({pair: count for pair, count in counts.items() if pair[0] != pair[1]})
            worst = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:LABELS]
            yield Block("text", "The most frequent confusions on test rows.")
            yield Block("table", [{"actual": pair[0], "said": pair[1], "rows": count} for pair, count in worst])
    if (folder / "reliability.csv").is_file():
        with open(folder / "reliability.csv", encoding="utf-8", newline="") as stream:
            bins = [(float(row["confidence"]), float(row["accuracy"])) for row in csv.DictReader(stream)]
        plot = line_plot({"model": bins, "perfect": [(0.0, 0.0), (1.0, 1.0)]}, "calibrated confidence", "accuracy")
        yield Block("figure", plot, f"{folder.name}: reliability on test rows, accuracy over calibrated confidence")


def _samples(folder: Path) -> Iterator[Block]:
    file = folder / "samples.json"
    samples: Row = read_json(file) if file.is_file() else {}
    pairs = list(zip(samples.get("before", []), samples.get("after", []), strict=False))[:: max(1, 12 // SAMPLES)]
    if pairs:
        yield Block(
            "table",
            [
                {
                    "prompt": _tail(one["prompt"]),
                    "before": begun(one["answer"], ANSWER),
                    "after": begun(other["answer"], ANSWER),
                    "wanted": other["right_answer"],
                }
                for one, other in pairs
            ],
        )


def _tail(prompt: Any) -> str:
    return ended(str(prompt if isinstance(prompt, str) else prompt[-1]["content"]), PROMPT)


def _figure(value: Any) -> str | None:
    if isinstance(value, dict):
        if value.get("mean") is not None:
            if value.get("low") is not None and value.get("high") is not None and not value["standard_error"]:
                return f"{value['mean']:.4f} ({value['low']:.4f} to {value['high']:.4f})"
            return _with_error(value["mean"], value["standard_error"], ".4f")
        if all(value.get(part) is not None for part in ("value", "low", "high")):
            return f"{value['value']:.4f} ({value['low']:.4f} to {value['high']:.4f})"
        return _with_error(value["value"], None, ".4f") if value.get("value") is not None else None
    return None if value is None else f"{value:.4g}"


def _with_error(value: float | None, error: float | None, form: str) -> str:
    """`0.2500 ± 0.0100`; values without spread have no error, and that of one item or one group is unknown."""
    if value is None or not math.isfinite(value):
        return "no number"
    without = "error unknown" if error is None else "no spread"
    return f"{value:{form}}" + (f"\u00a0±\u00a0{error:.4f}" if error else f" ({without})")
