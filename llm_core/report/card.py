"""`report`: one page about a run, from what the stages left in the data folder.

It reads each stage's metrics.json, the training log, the evaluations, dvc.lock (a plain YAML
file) and the run log of times. A stage that has not run leaves its section out and is named
among the limits: the page never guesses. It is the graph's last leaf, so it alone may show times.
"""

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from llm_core import timings, tracking
from llm_core.params import Params
from llm_core.report.blocks import Block, Row, to_html, to_markdown
from llm_core.report.finetuning import finetuned
from llm_core.report.plots import interval_plot, line_plot
from llm_core.storage import output_folder, read_json

PACKAGES = ("torch", "transformers", "deepspeed", "tokenizers", "datasets", "lm-eval", "dvc", "dagster", "mlflow")
NORMAL = 1.96  # half-width of a 95 % interval in standard errors


def write_report(data: Path, out: Path, params: Params) -> list[Block]:
    """Write `out/report.html` and `out/report.md` about everything below `data`; the blocks."""
    blocks = list(report(data, params))
    with output_folder(out) as folder:
        (folder / "report.html").write_text(to_html(blocks), encoding="utf-8")
        (folder / "report.md").write_text(to_markdown(blocks), encoding="utf-8")
    return blocks


def report(data: Path, params: Params) -> Iterator[Block]:
    """The page, top to bottom."""
    evaluations, models = _evaluations(data), _models(data)
    commit = tracking.git_tags()
    yield Block("title", "Report card: from text to an evaluated model")
    if commit:
        dirty = ", with uncommitted changes" if commit["git.dirty"] == "true" else ""
        yield Block("note", f"Commit {commit['mlflow.source.git.commit'][:12]}{dirty}.")
    yield Block("facts", facts(data))
    yield from _data(data)
    yield from _training(data, models)
    yield from finetuned(data)
    yield from _scores(evaluations)
    yield from _registry(data)
    yield from _samples(data)
    yield from _costs(params)
    yield from _versions(data)
    yield from _licences(data, params)
    yield Block("heading", "Known limits")
    yield Block("list", list(_limits(data, evaluations, params)))


def facts(data: Path) -> list[tuple[str, Any]]:
    """The run's figures that are asked for first, as (name, value)."""
    return list(_facts(data, _evaluations(data), _models(data)))


def _evaluations(data: Path) -> dict[str, Any]:
    return {file.parent.name: read_json(file) for file in sorted(data.glob("evaluation/*/metrics.json"))}


def _models(data: Path) -> dict[str, Any]:
    files = sorted(data.glob("models/*/metrics.json"))
    return {file.parent.name: read_json(file) for file in files if file.with_name("config.json").is_file()}


def _facts(data: Path, evaluations: dict[str, Any], models: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    split = _metrics(data / "split")
    if split:
        yield "documents kept", split["documents_in"]
    base = models.get("base", {})
    for key, name in (("parameters", "parameters"), ("tokens", "tokens trained on")):
        if key in base:
            yield name, base[key]
    for name, scores in evaluations.items():
        whole = scores.get("bits_per_byte", {}).get("all")
        if whole:
            yield f"bits per byte, {name}", _pm(whole, "bits_per_byte", 3)
            if name == "base" and "xz" in whole:
                yield "bits per byte, xz -9", f"{whole['xz']:.3f}"
    seconds = sum(row["seconds"] for row in timings.last())
    if seconds:
        yield "minutes of stages", round(seconds / 60, 1)


def _data(data: Path) -> Iterator[Block]:
    stages = [("clean", f"clean/{path.name}") for path in sorted((data / "clean").glob("*"))]
    stages += [(name, folder) for name, folder in (("dedup", "dedup"), ("decontaminate", "decontaminated"))]
    drops: list[Row] = []
    flow: dict[str, Row] = {}
    for stage, folder in stages:
        for source, row in _metrics(data / folder).get("by_source", {}).items():
            if stage == "clean":
                flow[source] = {"source": source, "documents": row["documents_in"], "MB": row["bytes_in"] / 1e6}
            flow.setdefault(source, {"source": source, "documents": None, "MB": None})
            flow[source][f"after {stage}"] = row["documents_kept"]
            for reason, count in sorted(row.get("dropped_by_reason", {}).items()):
                share = count / max(row["documents_in"], 1)
                drops.append(
                    {"source": source, "stage": stage, "reason": reason, "documents": count, "share": f"{share:.2%}"}
                )
    split = _metrics(data / "split").get("by_source", {})
    for source, row in split.items():
        if source in flow:
            flow[source] |= {"train": row["train_documents"], "held out": row["heldout_documents"]}
            flow[source]["mix (train bytes)"] = row["train_bytes"]
    if not flow:
        return
    total = sum(row.get("mix (train bytes)") or 0 for row in flow.values())
    for row in flow.values():
        if total and "mix (train bytes)" in row:
            row["mix (train bytes)"] = f"{row['mix (train bytes)'] / total:.1%}"
    names = {name: None for row in flow.values() for name in row}
    yield Block("heading", "Data")
    yield Block("text", "Documents of each source, and how many were left after each stage.")
    yield Block("table", [{name: row.get(name) for name in names} for row in flow.values()])
    yield Block("heading", "What was dropped, and why")
    if drops:
        yield Block("table", sorted(drops, key=lambda row: -row["documents"]))
    else:
        yield Block("text", "Nothing was dropped.")


def _training(data: Path, models: dict[str, Any]) -> Iterator[Block]:
    if not models:
        return
    yield Block("heading", "Training")
    keys = sorted({key for metrics in models.values() for key in metrics if "/" not in key})
    table = [{"figure": key} | {name: metrics.get(key) for name, metrics in models.items()} for key in keys]
    yield Block("table", [row for row in table if not any(isinstance(value, dict | list) for value in row.values())])
    for name in models:
        log = data / "models" / name / "training_log.jsonl"
        rows = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.is_file() else []
        loss = line_plot(
            {"training loss": [(row["step"], row["loss"]) for row in rows if "loss" in row]}, "step", "loss"
        )
        if loss:
            yield Block("figure", loss, f"{name}: training loss, nats per token")
        curves = sorted({key for row in rows for key in row if key.startswith("heldout_bits_per_byte")})
        held = {
            key.partition("/")[2] or "all": [(row["step"], row[key]) for row in rows if key in row] for key in curves
        }
        if any(len(points) > 1 for points in held.values()):
            caption = f"{name}: bits per byte on held-out text while training"
            yield Block("figure", line_plot(held, "step", "bits per byte"), caption)
    speed = tracking.latest_metric("pretrain", "tokens_per_second")
    if speed:
        yield Block("text", f"Throughput of the latest pretraining at its end: {speed:,.0f} tokens per second.")


def _scores(evaluations: dict[str, Any]) -> Iterator[Block]:
    for name, metrics in evaluations.items():
        yield Block("heading", f"Scores of {name}")
        if language := metrics.get("bits_per_byte"):
            rows = [
                {
                    "held-out text": source,
                    "bits per byte": _pm(score, "bits_per_byte"),
                    "xz -9": score.get("xz"),
                    "random weights": score.get("untrained"),
                    "perplexity a token": score["perplexity"],
                    "KB": score["bytes"] / 1e3,
                    "documents": score["documents"],
                }
                for source, score in language.items()
            ]
            yield Block("table", rows)
        benchmarks = metrics.get("benchmarks", {})
        rows, marks = [], []
        for task, score in benchmarks.items():
            metric = next(key for key in ("acc", "exact_match", *score) if f"{key}_stderr" in score)
            rows.append(
                {
                    "benchmark": task,
                    "metric": metric,
                    "score": _pm(score, metric),
                    "chance": score.get("chance"),
                    "items": score["items"],
                    "touched items": score.get("items_touched"),
                    "on clean items": _pm(score, f"{metric}_clean") if f"{metric}_clean" in score else None,
                    "smallest difference shown": score.get("detectable"),
                }
            )
            half = NORMAL * (score[f"{metric}_stderr"] or 0)
            marks.append((task, score[metric], score[metric] - half, score[metric] + half, score.get("chance")))
        if answers := metrics.get("answers"):
            rows.append(
                {
                    "benchmark": "questions about unseen countries",
                    "metric": "exact_match",
                    "score": _pm(answers, "exact_match"),
                    "chance": answers["most_frequent_answer"],
                    "items": answers["items"],
                    "touched items": None,
                    "on clean items": None,
                    "smallest difference shown": answers["detectable"],
                }
            )
        if rows:
            yield Block("table", rows)
            caption = "Score with its 95 % interval; the upright tick is chance."
            yield Block("figure", interval_plot(marks, "score"), caption)
            if answers:
                yield Block("note", "For questions, the column chance holds the most frequent answer's score.")
    if evaluations:
        yield Block(
            "note",
            "± is one standard error. A touched item shares an n-gram with a training document. The smallest "
            "difference is what two models must differ by, on as many items each, to be told apart (95 %, power 80 %).",
        )


def _registry(data: Path) -> Iterator[Block]:
    records = [read_json(file) for file in sorted(data.glob("registry/*.json"))]
    if records:
        yield Block("heading", "Registry")
        yield Block(
            "table",
            [
                {"model": row["model"], "version": row["version"], "champion": row["champion"], "gate": row["reason"]}
                for row in records
            ],
        )


def _samples(data: Path) -> Iterator[Block]:
    for file in sorted(data.glob("evaluation/*/samples.json")):
        samples = read_json(file)
        if samples:
            yield Block("heading", f"Samples of {file.parent.name}")
            yield Block("sample", [(row["prompt"], row["continuation"]) for row in samples])
        answers = [
            row
            for line in file.with_name("results.jsonl").read_text(encoding="utf-8").splitlines()
            if (row := json.loads(line))["task"] == "exact_match"
        ]
        if answers:
            step = max(1, len(answers) // 6)
            yield Block(
                "table",
                [
                    {"question": row["question"][-160:], "given": row["given"], "wanted": row["wanted"]}
                    for row in answers[::step][:6]
                ],
            )


def _costs(params: Params) -> Iterator[Block]:
    rows = timings.last()
    if not rows:
        return
    hours = sum(row["seconds"] for row in rows) / 3600
    yield Block("heading", "Time and cost")
    yield Block(
        "table",
        [
            {
                "stage": row.get("stage") or row["verb"],
                "output": row["out"],
                "seconds": round(row["seconds"], 1),
                "CPU seconds": round(row["cpu_seconds"], 1),
                "peak MB": round(row["peak_bytes"] / 1e6),
            }
            for row in rows
        ],
    )
    told = [f"{hours * 60:.1f} minutes of stages, each one's latest run."]
    if params.report.watts:
        told.append(f"About {hours * params.report.watts / 1000:.3f} kWh at {params.report.watts:g} W (an estimate).")
    if params.report.price_per_hour:
        money = hours * params.report.price_per_hour
        told.append(f"{money:.2f} {params.report.currency} at {params.report.price_per_hour:g} an hour.")
    if not (params.report.watts or params.report.price_per_hour):
        told.append("Set report.watts and report.price_per_hour for energy and money.")
    yield Block("text", " ".join(told))


def _versions(data: Path) -> Iterator[Block]:
    yield Block("heading", "Versions and hashes")
    found = []
    for package in PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    yield Block("text", ", ".join(found) + ".")
    lock = data.parent / "dvc.lock"
    stages = (yaml.safe_load(lock.read_text(encoding="utf-8")) or {}).get("stages", {}) if lock.is_file() else {}
    rows = [
        {"stage": stage, "output": out["path"], "hash": out.get("md5", ""), "bytes": out.get("size")}
        for stage, entry in stages.items()
        for out in entry.get("outs", [])
        if not out["path"].endswith("metrics.json") and stage != "report"
    ]
    if rows:
        yield Block("folded", rows, f"Hashes of the {len(rows)} outputs, as in dvc.lock")


def _licences(data: Path, params: Params) -> Iterator[Block]:
    rows: list[Row] = [
        {
            "name": name,
            "use": "training text",
            "licence": source.license or "each document's own",
            "origin": source.kind,
        }
        for name, source in params.sources.items()
    ]
    manifest = data / "benchmarks" / "manifest.json"
    for name, entry in (read_json(manifest) if manifest.is_file() else {}).items():
        rows.append(
            {"name": name, "use": "benchmark", "licence": entry["license"], "origin": entry["source"].partition("!")[0]}
        )
    if rows:
        yield Block("heading", "Licences")
        yield Block("table", rows)


def _limits(data: Path, evaluations: dict[str, Any], params: Params) -> Iterator[str]:
    for stage in ("split", "tokens", "models/base", "evaluation"):
        if not (data / stage).exists():
            yield f"{data / stage} is not there: its sections are left out."
    if params.evaluation.limit:
        yield f"Benchmarks were scored on at most {params.evaluation.limit} items each (evaluation.limit)."
    if evaluations:
        yield "Prompts are lm-eval-harness's own; items are the validation or test sets in the pinned package."
        yield "A score of exactly 0 has a standard error of 0, which understates what is not known."
        lowest = [
            task
            for run in evaluations.values()
            for task, score in run.get("benchmarks", {}).items()
            if _at_chance(score)
        ]
        if lowest:
            yield f"Within two standard errors of chance, no evidence of skill: {', '.join(sorted(set(lowest)))}."
    yield "Standard errors cover the choice of items, not the seed of the training."
    yield "The model inherits the views and the gaps of its texts; by default they are old, formal English."


def _at_chance(score: dict[str, Any]) -> bool:
    return bool("chance" in score and abs(score["acc"] - score["chance"]) < 2 * (score.get("acc_stderr") or 0))


def _pm(score: dict[str, Any], metric: str, digits: int = 4) -> str:
    error = score.get(f"{metric}_stderr")
    return f"{score[metric]:.{digits}f}" + (
        f"\u00a0±\u00a0{error:.{digits}f}" if error is not None else "\u00a0(one document)"
    )


def _metrics(folder: Path) -> dict[str, Any]:
    file = folder / "metrics.json"
    return read_json(file) if file.is_file() else {}
