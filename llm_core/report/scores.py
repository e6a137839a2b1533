"""The report's sections about scores: a summary, each model's scores, the previous champion, and samples.

Every score has its interval. Scores are read from the evaluations' files; the only thing computed here is paired
differences, by the gate's own function.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.evaluation.catalog import main_metric
from llm_core.evaluation.gate import decide, gate_of
from llm_core.evaluation.gold import GOLD
from llm_core.evaluation.results import read_results
from llm_core.formats.pages import Block, Row, number, score_text
from llm_core.params import Params
from llm_core.report.comparison import difference_blocks
from llm_core.report.plots import interval_plot
from llm_core.runtime import json_lines
from llm_core.runtime.storage import read_json
from llm_core.tracking.registry import previous_champion, registered_name

Evaluations = Mapping[str, Any]
ROUNDING = 1e-9


def in_short(evaluations: Evaluations) -> Iterator[str]:
    """Each evaluation in sentences."""
    for name, metrics in evaluations.items():
        if whole := metrics.get("bits_per_byte", {}).get("all"):
            others = (("xz", "xz -9"), ("ngram", "n-gram model"), ("untrained", "random weights"))
            beside = [f"{label} {number(whole[key])}" for key, label in others if key in whole]
            told = f"{name} needs {score_text(whole, 'bits_per_byte')} bits per byte of held-out text"
            yield f"{told} ({', '.join(beside)})." if beside else f"{told}."
        tasks = metrics.get("benchmarks", {})
        above = [task for task, score in tasks.items() if _above_chance(task, score)]
        unclear = [task for task in tasks if task not in above]
        parts = [f"above chance and the most frequent answer on {', '.join(above)}"] if above else []
        parts += (
            [f"not distinguishable from chance or the most frequent answer on {', '.join(unclear)}"] if unclear else []
        )
        if parts:
            yield f"{name} is {'; '.join(parts)}."
        if preferred := [task for task, score in tasks.items() if (score.get("margin_low") or 0) > 0]:
            yield (
                f"{name} gives the right answer fewer bits per byte than the best wrong one, on average, on "
                f"{', '.join(preferred)}."
            )
        if answers := metrics.get("answers"):
            right, guess = score_text(answers, "exact_match"), number(answers["most_frequent_answer"])
            yield (
                f"{name} answers a share of {right} of {answers['items']} questions exactly; the most frequent answer "
                f"to each kind of question would be right for {guess}."
            )
        if own := metrics.get("finetuned"):
            beside = [f"{label.replace('_', ' ')} {number(value)}" for label, value in own["baselines"].items()]
            told = f"{name} reaches {own['score']} {score_text(own, own['score'])} on {own['items']} test rows"
            yield f"{told} ({', '.join(beside)})." if beside else f"{told}."


def scores(evaluations: Evaluations) -> Iterator[Block]:
    """Tables and plots of each evaluation."""
    for name, metrics in evaluations.items():
        yield Block("heading", f"Scores of {name}")
        if language := metrics.get("bits_per_byte"):
            yield Block("table", [_language_row(source, score) for source, score in language.items()])
        rows, marks = [], []
        for task, score in metrics.get("benchmarks", {}).items():
            first = main_metric(task, score)
            shown = [first, "perplexity", *GOLD]
            if not _above_chance(task, score):  # then these say more than accuracy
                shown = [*GOLD, first, "perplexity"]
            rows += [_benchmark_row(task, metric, score, metric == first)
                     for metric in dict.fromkeys(shown) if metric in score]  # fmt: skip
            marks.append(
                (task, score[first], _bound(task, score, "low"), _bound(task, score, "high"), score.get("chance"))
            )
        if answers := metrics.get("answers"):
            rows.append(_answers_row(answers))
            low, high = answers.get("exact_match_low"), answers.get("exact_match_high")
            if low is not None:
                marks.append(("questions", answers["exact_match"], low, high, answers["most_frequent_answer"]))
        if own := metrics.get("finetuned"):
            rows.append(_finetuned_row(own))
        if rows:
            yield Block("table", rows)
        if marks:
            caption = "scores with 95 % intervals; the upright tick is chance (for questions, the most frequent answer)"
            yield Block("figure", interval_plot(marks, "score"), f"{name}: {caption}")
        yield from _contamination(metrics.get("benchmarks", {}))
    if evaluations:
        yield Block(
            "note",
            "Brackets are 95 % intervals over the choice of items (Wilson's for right or wrong, otherwise Student's). "
            "gold_bpb is the bits per byte of the right answer (lower is better), margin those of the best wrong one "
            "less these; they come first where accuracy is not above its baselines. "
            "The baseline is always the most frequent right answer; of a finetune the best of its own baselines. "
            "A touched item shares an n-gram with a training document. The smallest difference is the minimum by which "
            "two models must differ, on as many items each, to be distinguishable (power 80 %).",
        )


def against_champion(data: Path, evaluations: Evaluations, params: Params) -> Iterator[Block]:
    """Each evaluated model compared with the previous champion on the same items, and its gate's decision."""
    if not evaluations:
        return
    yield Block("heading", "Against the previous champion")
    for name in evaluations:
        folder = data / "evaluation" / name
        registered = registered_name(params.evaluation.registry, name)
        gate = gate_of(name, params)
        try:
            previous = previous_champion(registered, read_json(folder / "about.json")["digest"])
        except UserError as error:
            yield Block("text", f"{name}: {error}.")
            continue
        if previous is None:
            yield Block("text", f"{name}: {registered} has had no champion before it.")
            continue
        version, evaluation = previous
        before, after = read_results(evaluation), read_results(folder)
        yield Block("text", f"{name} against version {version} of {registered}, on the items that both have:")
        yield from difference_blocks(before, after, gate, params.seed)
        decision = decide(before, after, gate, params.seed)
        verdict = "may become champion" if decision.passed else "stays challenger"
        yield Block("text", f"By its gate {name} {verdict}: {decision.reason}.")


def samples(data: Path) -> Iterator[Block]:
    """Continued prompts and answered questions of each evaluation."""
    for file in sorted(data.glob("evaluation/*/samples.json")):
        found = read_json(file)
        if found:
            yield Block("heading", f"Samples of {file.parent.name}")
            yield Block("sample", [(row["prompt"], row["continuation"] or "(it ended at once)") for row in found])
        results = json_lines.load_rows(file.with_name("results.jsonl"))
        answers = [row for row in results if row["task"] == "exact_match"]
        if answers:
            step = max(1, len(answers) // 6)
            chosen = answers[::step][:6]
            yield Block(
                "table",
                [
                    {"question": row["question"][-160:], "given": row["given"], "wanted": row["wanted"]}
                    for row in chosen
                ],
            )


def _contamination(benchmarks: Mapping[str, Row]) -> Iterator[Block]:
    """Scores on clean and on touched items, where decontamination listed the touched ones."""
    known = {task: score for task, score in benchmarks.items() if "items_touched" in score}
    touched = {task: score for task, score in known.items() if score["items_touched"]}
    if touched:
        rows = []
        for task, score in touched.items():
            metric = main_metric(task, score)
            rows.append(
                {
                    "benchmark": f"{task}, {metric}",
                    "all items": score_text(score, metric),
                    "clean": score["items_clean"],
                    "on clean items": score_text(score, f"{metric}_clean") if score["items_clean"] else "none",
                    "touched": score["items_touched"],
                    "on touched items": score_text(score, f"{metric}_touched"),
                }
            )
        yield Block("text", "Items that share an n-gram with a training document, scored separately:")
        yield Block("table", rows)
    if clean := [task for task in known if task not in touched]:
        yield Block("text", f"No scored item of {', '.join(clean)} shares an n-gram with a training document.")


def _language_row(source: str, score: Row) -> Row:
    return {
        "held-out text": source,
        "bits per byte": score_text(score, "bits_per_byte"),
        "xz -9": score.get("xz"),
        **({"n-gram model": score["ngram"]} if "ngram" in score else {}),
        "random weights": score.get("untrained"),
        "perplexity a token": score["perplexity"],
        "KB": score["bytes"] / 1e3,
        "documents": score["documents"],
        "smallest difference": score.get("detectable"),
    }


def _benchmark_row(task: str, metric: str, score: Row, first: bool) -> Row:
    return {
        "benchmark": f"{task}, {metric}",
        "score": score_text(score, metric),
        "chance": score.get("chance") if first else None,
        "baseline": score.get("majority") if first else None,
        "items": score["items"],
        "sd between draws of examples": score.get(f"{metric}_seed_sd") if metric != "perplexity" else None,
        "smallest difference": score.get("detectable") if first else None,
    }


def _answers_row(answers: Row) -> Row:
    return {
        "benchmark": "questions, exact_match",
        "score": score_text(answers, "exact_match"),
        "chance": None,
        "baseline": answers["most_frequent_answer"],
        "items": answers["items"],
        "sd between draws of examples": None,
        "smallest difference": answers["detectable"],
    }


def _finetuned_row(own: Row) -> Row:
    return {
        "benchmark": f"its test rows, {own['score']}",
        "score": score_text(own, own["score"]),
        "chance": None,
        "baseline": max(own["baselines"].values(), default=None),
        "items": own["items"],
        "sd between draws of examples": None,
        "smallest difference": own["detectable"],
    }


def _above_chance(task: str, score: Row) -> bool:
    """Whether the interval's low end is above both baselines by more than rounding: old files have 1.4e-17 for 0."""
    low = _bound(task, score, "low")
    return low is not None and low > max(score.get("chance") or 0, score.get("majority") or 0) + ROUNDING


def _bound(task: str, score: Row, side: str) -> float | None:
    """An end of the first metric's interval; None where the score is no finite number."""
    metric = main_metric(task, score)
    bound = score.get(f"{metric}_{side}")
    if bound is None and score[metric] is not None:  # an evaluation from before scores had intervals
        bound = score[metric] + (1.96 if side == "high" else -1.96) * (score.get(f"{metric}_stderr") or 0)
    return None if bound is None else float(bound)
