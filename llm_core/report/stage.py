"""`report`: one page about a run, from the outputs of the stages in the data folder.

It reads each stage's metrics.json, the training log, the evaluations, dvc.lock (a plain YAML
file) and the run log of times. A stage that has not run has no section and is named
among the limits. No stage reads the page, so it may show times.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llm_core.evaluation.gate import gate_of
from llm_core.evaluation.results import read_results
from llm_core.formats import names
from llm_core.formats.pages import Block, Row, to_html, to_markdown
from llm_core.params import Params
from llm_core.report.account import costs, licences, limits, versions
from llm_core.report.champion import Champion, against_champions, champions
from llm_core.report.comparison import differences
from llm_core.report.documents import Account, account, documents
from llm_core.report.finetuning import finetuned
from llm_core.report.headline import Parent, Statement, headline, headline_figures, parents_of
from llm_core.report.plot_data import write_plot_data
from llm_core.report.plots import line_plot
from llm_core.report.retrieval import searched, word_vectors
from llm_core.report.scores import samples, scores
from llm_core.runtime import json_lines
from llm_core.runtime.storage import output_folder, read_json
from llm_core.tracking import lookup, runs


def write_report(data: Path, out: Path, params: Params) -> list[Block]:
    """Write `out/report.html`, `out/report.md` and `out/plots` about everything below `data`; the blocks."""
    blocks = list(report(data, params))
    with output_folder(out) as folder:
        (folder / "report.html").write_text(to_html(blocks), encoding="utf-8")
        (folder / "report.md").write_text(to_markdown(blocks), encoding="utf-8")
        write_plot_data(folder / "plots", data, _evaluations(data), account(data, params.sources))
    _track(out)
    return blocks


def _track(out: Path) -> None:
    """Keep the page with a run in MLflow; none without a store."""
    if not runs.has_store():
        return
    with runs.run("report", {}, kind="evaluation") as run:
        run.page(out / "report.html")
        run.describe("The page about the run: artifact `report.html`.")


def report(data: Path, params: Params) -> Iterator[Block]:
    """The page's blocks, from top to bottom."""
    evaluations, models, counted = _evaluations(data), _models(data), account(data, params.sources)
    before = champions(data, evaluations, params)
    told = _headline(data, params, evaluations, models, before, counted)
    first = [Block("title", "Report card: from text to an evaluated model"), Block("note", _written())]
    yield Block("first", [*first, Block("contents", True), Block("lead", told), *headline_figures(evaluations)])
    yield from documents(data, counted, params.sources)
    yield from _training(data, models)
    yield from finetuned(data)
    yield from scores(evaluations)
    yield from against_champions(evaluations, before)
    yield from samples(data, before)
    yield from searched(data)
    yield from word_vectors(data)
    known = [Block("subheading", "Known limits"), Block("list", list(limits(data, evaluations, params)))]
    made = [Block("subheading", "Time, energy, versions, licences"), *costs(params), *versions(data)]
    yield Block("heading", "Limits, costs and licences")
    yield Block("pair", [Block("column", known), Block("column", [*made, *licences(data, params)])])


def in_short(data: Path, params: Params) -> list[Statement]:
    """The report's first answers, as (question, answer); empty before any stage has run."""
    evaluations, models = _evaluations(data), _models(data)
    return _headline(
        data, params, evaluations, models, champions(data, evaluations, params), account(data, params.sources)
    )


def _headline(
    data: Path,
    params: Params,
    evaluations: Mapping[str, Row],
    models: Mapping[str, Row],
    before: Mapping[str, Champion],
    counted: Account,
) -> list[Statement]:
    parents = {}
    for name, parent in parents_of(evaluations, models).items():
        old, new = (read_results(data / "evaluation" / folder) for folder in (parent, name))
        gate = gate_of(name, params)
        parents[name] = Parent(parent, differences(old, new, gate, params.seed), gate.confidence)
    return headline(evaluations, models, before, parents, counted)


def _written() -> str:
    """Day and commit of the page."""
    day, commit = f"Written on {datetime.now(UTC):%d %B %Y}", runs.git_tags()
    if not commit:
        return f"{day}."
    dirty = ", with uncommitted changes" if commit["git.dirty"] == "true" else ""
    return f"{day}, commit {commit['mlflow.source.git.commit'][:12]}{dirty}."


def _evaluations(data: Path) -> dict[str, Any]:
    return {file.parent.name: read_json(file) for file in sorted(data.glob("evaluation/*/metrics.json"))}


def _models(data: Path) -> dict[str, Any]:
    files = sorted(data.glob("models/*/metrics.json"))
    return {file.parent.name: read_json(file) for file in files if file.with_name("config.json").is_file()}


def _training(data: Path, models: dict[str, Any]) -> Iterator[Block]:
    if not models:
        return
    yield Block("heading", "Training")
    figures = []
    for name, metrics in models.items():
        if "method" in metrics:  # it has a section of its own
            continue
        rows = json_lines.load_rows(data / "models" / name / "training_log.jsonl", missing_ok=True)
        points = [(row["step"], row["loss"]) for row in rows if "loss" in row]
        if loss := line_plot({"training loss": points}, "step", "loss", smooth=True):
            figures.append(
                Block("figure", loss, f"{name}: training loss, nats per token; the faint line is not smoothed")
            )
        curves = sorted({key for row in rows for key in row if key.startswith("heldout_bits_per_byte")})
        held = {
            key.partition("/")[2] or "all sources": [(row["step"], row[key]) for row in rows if key in row]
            for key in curves
        }
        if any(len(points) > 1 for points in held.values()):
            caption = f"{name}: bits per byte on held-out text while training"
            figures.append(Block("figure", line_plot(held, "step", "bits per byte"), caption))
    keys = sorted({key for metrics in models.values() for key in metrics if "/" not in key})
    table = [{"figure": key} | {name: metrics.get(key) for name, metrics in models.items()} for key in keys]
    table = [row for row in table if not any(isinstance(value, dict | list) for value in row.values())]
    named = {key: "tokens trained on" if key == "tokens" else names.figure(key) for key in keys}
    inner = [Block("table", [row | {"figure": named[row["figure"]]} for row in table])]
    if speed := lookup.last_metrics("pretrain").get("tokens_per_second"):
        told = f"Throughput of the latest pretraining at its end: {speed:,.0f} tokens per second."
        inner.append(Block("text", told))
    folded = Block("group", inner, "Figures of each training")
    yield Block("pair", [Block("column", [*figures[:1], folded]), *figures[1:]])
