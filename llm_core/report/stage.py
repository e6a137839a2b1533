"""`report`: one page about a run, from the outputs of the stages in the data folder.

It reads each stage's metrics.json, the training log, the evaluations, dvc.lock (a plain YAML
file) and the run log of times. A stage that has not run has no section and is named
among the limits. No stage reads the page, so it may show times.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.formats.pages import Block, Row, score_text, to_html, to_markdown
from llm_core.params import Params
from llm_core.report.account import costs, licences, limits, versions
from llm_core.report.finetuning import finetuned
from llm_core.report.plots import line_plot
from llm_core.report.retrieval import searched, word_vectors
from llm_core.report.scores import against_champion, in_short, samples, scores
from llm_core.runtime import json_lines, timings
from llm_core.runtime.storage import output_folder, read_json
from llm_core.tracking import runs
from llm_core.training.finetuning.registry import methods

EXCERPT = 300  # characters shown of a sampled drop


def write_report(data: Path, out: Path, params: Params) -> list[Block]:
    """Write `out/report.html` and `out/report.md` about everything below `data`; the blocks."""
    blocks = list(report(data, params))
    with output_folder(out) as folder:
        (folder / "report.html").write_text(to_html(blocks), encoding="utf-8")
        (folder / "report.md").write_text(to_markdown(blocks), encoding="utf-8")
    return blocks


def report(data: Path, params: Params) -> Iterator[Block]:
    """The page's blocks, from top to bottom."""
    evaluations, models = _evaluations(data), _models(data)
    commit = runs.git_tags()
    yield Block("title", "Report card: from text to an evaluated model")
    if commit:
        dirty = ", with uncommitted changes" if commit["git.dirty"] == "true" else ""
        yield Block("note", f"Commit {commit['mlflow.source.git.commit'][:12]}{dirty}.")
    yield Block("facts", facts(data))
    if told := list(in_short(evaluations)):
        yield Block("heading", "In short")
        yield Block("list", told)
    yield from _data(data)
    yield from _training(data, models)
    yield from finetuned(data)
    yield from scores(evaluations)
    yield from against_champion(data, evaluations, params)
    yield from samples(data)
    yield from searched(data)
    yield from word_vectors(data)
    yield from costs(params)
    yield from versions(data)
    yield from licences(data, params)
    yield Block("heading", "Known limits")
    yield Block("list", list(limits(data, evaluations, params)))


def facts(data: Path) -> list[tuple[str, Any]]:
    """The run's main figures, as (name, value)."""
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
    for name, metrics in evaluations.items():
        whole = metrics.get("bits_per_byte", {}).get("all")
        if whole:
            yield f"bits per byte, {name}", score_text(whole, "bits_per_byte")
            if name == "base" and whole.get("xz") is not None:
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
    yield from _sampled_drops(data)


def _sampled_drops(data: Path) -> Iterator[Block]:
    """The drops that `clean` sampled, a folded table for each source and reason."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for file in sorted((data / "clean").glob("*/drops.jsonl")):
        for drop in json_lines.load_rows(file):
            excerpt = " ".join(drop["excerpt"].split())
            row = {name: drop[name] for name in ("score", "characters", "language")}
            row["begins"] = excerpt if len(excerpt) <= EXCERPT else excerpt[:EXCERPT] + " …"
            groups.setdefault((drop["source"], drop["reason"]), []).append(row | {"url": drop["url"]})
    for (source, reason), rows in sorted(groups.items()):
        yield Block("folded", rows, f"Sampled drops of {source}: {reason} ({len(rows)})")


def _training(data: Path, models: dict[str, Any]) -> Iterator[Block]:
    if not models:
        return
    yield Block("heading", "Training")
    keys = sorted({key for metrics in models.values() for key in metrics if "/" not in key})
    table = [{"figure": key} | {name: metrics.get(key) for name, metrics in models.items()} for key in keys]
    yield Block("table", [row for row in table if not any(isinstance(value, dict | list) for value in row.values())])
    for name in models:
        log = data / "models" / name / "training_log.jsonl"
        rows = json_lines.load_rows(log, missing_ok=True)
        loss = line_plot(
            {"training loss": [(row["step"], row["loss"]) for row in rows if "loss" in row]}, "step", "loss"
        )
        if loss:
            unit = _loss_unit(models[name].get("method"))
            yield Block("figure", loss, f"{name}: training loss{unit}")
        curves = sorted({key for row in rows for key in row if key.startswith("heldout_bits_per_byte")})
        held = {
            key.partition("/")[2] or "all": [(row["step"], row[key]) for row in rows if key in row] for key in curves
        }
        if any(len(points) > 1 for points in held.values()):
            caption = f"{name}: bits per byte on held-out text while training"
            yield Block("figure", line_plot(held, "step", "bits per byte"), caption)
    speed = runs.last_metrics("pretrain").get("tokens_per_second")
    if speed:
        yield Block("text", f"Throughput of the latest pretraining at its end: {speed:,.0f} tokens per second.")


def _loss_unit(method: str | None) -> str:
    """Unit of a training loss: the finetuning method's; nats per token for a pretrained model."""
    known = methods().get(method) if method else None
    unit = known.loss if known else "" if method else "nats per token"
    return f", {unit}" if unit else ""


def _metrics(folder: Path) -> dict[str, Any]:
    file = folder / "metrics.json"
    return read_json(file) if file.is_file() else {}
