"""The report's sections about scores and samples: each model's scores, drawn and in tables, and what the models say.

Scores are read from the evaluations' files, each with its interval.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llm_core.evaluation.catalog import main_metric
from llm_core.evaluation.gold import GOLD
from llm_core.evaluation.results import by_kind, read_results
from llm_core.formats import names
from llm_core.formats.pages import Block, Row, begun, ended, score_text
from llm_core.report.champion import Champion
from llm_core.report.headline import above_chance, best, ends
from llm_core.report.plots import interval_plot
from llm_core.runtime import json_lines
from llm_core.runtime.storage import read_json

Evaluations = Mapping[str, Any]
QUESTIONS, SHOWN, EXCERPT, QUESTION = 6, 3, 90, 160  # the last two in letters
READING = (
    "Brackets are 95 % intervals over the choice of items (Wilson's for right or wrong, otherwise Student's); "
    "those of own questions over groups of rows that depend on each other, where these are known. "
    "The lead of the right answer is the bits per byte of the best wrong answer less those of the right one; where "
    "accuracy is not above its baselines, the bits of the answers come first. "
    "The baseline is always the most frequent right answer; of a finetune the best of its own baselines. "
    "A touched item shares an n-gram with a training document. The smallest difference is the minimum by which "
    "two models must differ, on as many items each, to be distinguishable (power 80 %)."
)
"""How the tables of scores are read."""
SPREAD, SMALLEST = "sd between draws of examples", "smallest difference"


def scores(evaluations: Evaluations) -> Iterator[Block]:
    """Held-out text by source and benchmarks by the bits of their right answers, drawn; everything in folded tables."""
    if not evaluations:
        return
    yield Block("heading", "Scores")
    text, gold = [], []
    for name, metrics in evaluations.items():
        for source, score in metrics.get("bits_per_byte", {}).items():
            if source != "all":
                text.append((source, name, ends(score, "bits_per_byte"), score.get("xz")))
        for task, score in metrics.get("benchmarks", {}).items():
            if "gold_bpb" in score:
                gold.append((names.benchmark(task), name, ends(score, "gold_bpb"), None))
    plots = (
        (text, "bits per byte of held-out text", "By source, less is better. The upright tick is xz -9."),
        (gold, "bits per byte of the right answer", "By benchmark, less is better; it speaks before accuracy does."),
    )
    figures = []
    for marks, label, told in plots:
        rows = [(f"{of}, {name}", *found, mark) for of, name, found, mark in sorted(marks, key=lambda row: row[0])]
        if rows:
            figures.append(Block("figure", interval_plot(rows, label), told))
    inner = [Block("group", list(_tables(metrics)), f"All scores of {name}") for name, metrics in evaluations.items()]
    inner.append(Block("group", [Block("note", READING)], "How to read the tables"))
    if clean := _clean_everywhere(evaluations):
        told = f"No scored item of {names.joined(clean)} shares an n-gram with a training document."
        inner.append(Block("note", told))
    yield Block("pair", [*figures[:1], Block("column", [*figures[1:], *inner])])


def _tables(metrics: Row) -> Iterator[Block]:
    if language := metrics.get("bits_per_byte"):
        yield Block("table", [_language_row(source, score) for source, score in language.items()])
    rows = []
    for task, score in metrics.get("benchmarks", {}).items():
        first = main_metric(task, score)
        shown = [first, "perplexity", *GOLD]
        if "judged_by" in score:
            shown += ["judge_prefers_right", "judge_right", "judge_wrong", "exact_match"]
        if not above_chance(task, score):  # then these say more than accuracy
            shown = [*GOLD, *shown]
        rows += [_benchmark_row(task, metric, score, metric == first)
                 for metric in dict.fromkeys(shown) if metric in score]  # fmt: skip
    for cluster, score in metrics.get("benchmark_clusters", {}).items():
        rows += [_cluster_row(cluster, metric, score) for metric in GOLD if metric in score]
    if answers := metrics.get("answers"):
        rows += [_answers_row(score, names.kind(kind)) for kind, score in by_kind(answers).items()]
    if own := metrics.get("finetuned"):
        rows.append(_finetuned_row(own))
    if rows:
        yield Block("table", rows)
    yield from _judges(metrics.get("benchmarks", {}))
    yield from _contamination(metrics.get("benchmarks", {}))


def samples(data: Path, before: Mapping[str, Champion]) -> Iterator[Block]:
    """What each model continues and answers, beside the other models and the champion before it."""
    files = sorted(data.glob("evaluation/*/samples.json"))
    spoken: dict[str, Row] = {}
    for file in files:
        name = file.parent.name
        told = {row["prompt"]: row["continuation"] for row in read_json(file)}
        for prompt, continuation in told.items():
            spoken.setdefault(prompt, {"prompt": prompt})[name] = continuation or "(it ended at once)"
        old = before[name].evaluation / "samples.json" if name in before else None
        if old and old.is_file():
            column = f"{name}, version {before[name].version}"
            for row in read_json(old):
                if row["prompt"] in told:
                    spoken[row["prompt"]][column] = row["continuation"] or "(it ended at once)"
    columns = list(dict.fromkeys(name for row in spoken.values() for name in row))
    asked = [blocks for file in files if (blocks := _answers(file.parent, before))]
    if spoken or asked:
        yield Block("heading", "Samples")
    if spoken:
        rows = [{column: row.get(column) for column in columns} for row in spoken.values()]
        shown = rows[: SHOWN if len(columns) < 4 else 1]
        yield Block("table", [{name: text and begun(text, EXCERPT) for name, text in row.items()} for row in shown])
        yield Block("folded", rows, f"All {len(rows)} prompts, with whole continuations")
    for name, rows in asked:
        yield Block("group", [Block("table", rows)], f"Questions that {name} answered")


def _answers(folder: Path, before: Mapping[str, Champion]) -> tuple[str, list[Row]] | None:
    answers = [row for row in json_lines.load_rows(folder / "results.jsonl") if row["task"] == "exact_match"]
    if not answers:
        return None
    old: dict[str, str] = {}
    column = ""
    if folder.name in before:
        column = f"version {before[folder.name].version}"
        old = {row["id"]: row["given"] for row in read_results(before[folder.name].evaluation).get("exact_match", [])}
    rows = []
    for row in answers[:: max(1, len(answers) // QUESTIONS)][:QUESTIONS]:
        shown = {"question": ended(row["question"], QUESTION), "given": row["given"]}
        if old:
            shown[f"given by {column}"] = old.get(row["id"])
        rows.append(shown | {"wanted": row["wanted"], "right": bool(row["exact_match"])})
    return folder.name, rows


def _clean_everywhere(evaluations: Evaluations) -> list[str]:
    """Benchmarks of which no scored item of any model shares an n-gram with a training document."""
    touched: dict[str, int] = {}
    for metrics in evaluations.values():
        for task, score in metrics.get("benchmarks", {}).items():
            if "items_touched" in score:
                touched[task] = touched.get(task, 0) + score["items_touched"]
    return [names.benchmark(task) for task, count in touched.items() if not count]


def _judges(benchmarks: Mapping[str, Row]) -> Iterator[Block]:
    """Which model judged which benchmark, and what speaks against it."""
    for task, score in benchmarks.items():
        if "judged_by" in score:
            told = f"{names.benchmark(task)} was judged by the model {score['judged_by']}."
            yield Block("note", f"{told} {score['judge_doubt']}." if "judge_doubt" in score else told)


def _contamination(benchmarks: Mapping[str, Row]) -> Iterator[Block]:
    """Scores on clean and on touched items, where decontamination listed the touched ones."""
    touched = {task: score for task, score in benchmarks.items() if score.get("items_touched")}
    if touched:
        rows = []
        for task, score in touched.items():
            metric = main_metric(task, score)
            rows.append(
                {
                    "benchmark": names.measure(f"{task}/{metric}"),
                    "all items": score_text(score, metric),
                    "clean": score["items_clean"],
                    "on clean items": score_text(score, f"{metric}_clean") if score["items_clean"] else "none",
                    "touched": score["items_touched"],
                    "on touched items": score_text(score, f"{metric}_touched"),
                }
            )
        yield Block("text", "Items that share an n-gram with a training document, scored separately:")
        yield Block("table", rows)


def _language_row(source: str, score: Row) -> Row:
    return {
        "held-out text": "all sources" if source == "all" else source,
        "bits per byte": score_text(score, "bits_per_byte"),
        "xz -9": score.get("xz"),
        **({"n-gram model": score["ngram"]} if "ngram" in score else {}),
        "random weights": score.get("untrained"),
        "perplexity a token": score["perplexity"],
        "KB": score["bytes"] / 1e3,
        "documents": score["documents"],
        "smallest difference": score.get("detectable"),
    }


def _row(benchmark: str, score: str, items: int | str, **others: Any) -> Row:
    """A row of the table of scores; what `others` does not name is empty."""
    columns = {"chance": None, "baseline": None, "items": items, SPREAD: None, SMALLEST: None}
    return {"benchmark": benchmark, "score": score, **columns, **others}


def _benchmark_row(task: str, metric: str, score: Row, first: bool) -> Row:
    row = _row(names.measure(f"{task}/{metric}"), score_text(score, metric), score["items"])
    if first:
        row |= {"chance": score.get("chance"), "baseline": score.get("majority"), SMALLEST: score.get("detectable")}
    if metric != "perplexity":
        row[SPREAD] = score.get(f"{metric}_seed_sd")
    return row


def _cluster_row(cluster: str, metric: str, score: Row) -> Row:
    name = f"cluster {cluster}, {names.figure(metric)}"
    return _row(name, score_text(score, metric), f"{score['benchmarks']} benchmarks")


def _answers_row(answers: Row, kind: str = "") -> Row:
    name = f"own questions{kind and ' '}{kind}, exact match" + _guessed(answers)
    others = {"baseline": answers["most_frequent_answer"], SMALLEST: answers["detectable"]}
    return _row(name, score_text(answers, "exact_match"), answers["items"], **others)


def _guessed(answers: Row) -> str:
    return "" if answers.get("answerable", True) else " (guessed: nothing that it read has the answers)"


def _finetuned_row(own: Row) -> Row:
    name = f"its test rows, {names.words(own['score'])}"
    others = {"baseline": best(own["baselines"].values()), SMALLEST: own["detectable"]}
    return _row(name, score_text(own, own["score"]), own["items"], **others)
