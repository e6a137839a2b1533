"""Benchmarks scored by lm-eval-harness itself, item by item, on local items."""

import contextlib
import io
import logging
import os
import sys
import tempfile
from pathlib import Path
from statistics import stdev
from typing import Any

import numpy as np

from llm_core.evaluation.baselines import BASELINES, baselines
from llm_core.evaluation.catalog import Benchmark, catalog, main_metric
from llm_core.evaluation.gold import measured
from llm_core.evaluation.harness_model import harness_model, with_begin_token
from llm_core.evaluation.journal import Journal
from llm_core.evaluation.judge import FIGURES, judge_rows, judges
from llm_core.evaluation.own import own_benchmarks, scored_by
from llm_core.evaluation.results import average
from llm_core.evaluation.statistics import detectable_difference, mean_and_error, scored
from llm_core.evaluation.tasks import write_tasks
from llm_core.models.family import kind_of
from llm_core.models.loading import device_of
from llm_core.params.evaluation import Evaluation

Row = dict[str, Any]
FEWSHOT_SEED = 1234  # lm-eval's own
NO_METRICS = ("task", "id", *BASELINES)


def score_benchmarks(
    network: Any,
    tokenizer: Any,
    benchmarks: Path,
    params: Evaluation,
    fewshot_seed: int = FEWSHOT_SEED,
    journal: Journal | None = None,
) -> list[Row]:
    """One row an item: task, id, and each metric's value (log-likelihood where the metric is a perplexity).

    Items scored by likelihood also have `gold_bpb` and `margin` (`evaluation/gold.py`). The values of the baselines on
    the same item are `chance` and `majority`, where there are any.

    `fewshot_seed` draws the solved examples, if there are any. `journal` has the batches of a run that was stopped.
    `network` is a decoder or encoder-decoder of transformers in eval mode. Raises UserError as `write_tasks` does.
    """
    os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from datasets.utils import disable_progress_bars
    from lm_eval import evaluator, simple_evaluate
    from lm_eval.tasks import TaskManager

    disable_progress_bars()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    evaluator.get_git_commit_hash = lambda: None  # not used here, and outside git its process prints an error
    with tempfile.TemporaryDirectory(prefix="llm-core-tasks-") as scratch:
        samples, names = write_tasks(params.tasks, benchmarks, Path(scratch), params.limit, params.num_fewshot)
        begin = params.add_bos_token
        if kind_of(network.config) == "decoder":  # the target of an encoder-decoder begins with its own start token
            tokenizer, begin = with_begin_token(tokenizer, begin)
        manager = TaskManager(include_path=scratch, include_defaults=False)
        loaded = manager.load(list(samples))["tasks"]
        terminal = contextlib.nullcontext() if sys.stderr.isatty() else contextlib.redirect_stderr(io.StringIO())
        with terminal:  # lm-eval's bars are for terminals; in a log they are a line each
            found = simple_evaluate(
                harness_model(params.chat, journal or Journal())(
                    pretrained=network,
                    tokenizer=tokenizer,
                    batch_size=params.batch_size,
                    add_bos_token=begin,
                    device=str(device_of(network)),
                ),
                tasks=list(loaded.values()),
                samples=samples,
                num_fewshot=params.num_fewshot,
                fewshot_random_seed=fewshot_seed,
                apply_chat_template=params.chat,
                fewshot_as_multiturn=params.chat,
                task_manager=manager,
                bootstrap_iters=0,  # errors are ours: closed forms, equal to lm-eval's for means
            )
    assert found is not None
    rows: list[Row] = []
    own, judged = own_benchmarks(benchmarks), judges(benchmarks)
    for task, items in found["samples"].items():
        entry = scored_by(names[task], own)
        beside = baselines(loaded[task], items, isinstance(own.get(names[task]), Benchmark))
        for item in sorted(items, key=lambda item: (item["doc_id"], item["filter"])):
            name = names[task]
            scored = item["metrics"] if isinstance(entry, Benchmark) else entry[task].metrics
            row: Row = {"task": name, "id": str(item["doc"].get("id", item["doc_id"]))}
            suffix = "" if item["filter"] == "none" else f",{item['filter']}"
            row |= {f"{metric}{suffix}": _number(item[metric]) for metric in scored}
            row |= measured(loaded[task], item) | beside[item["doc_id"]]
            if rows and rows[-1]["id"] == row["id"] and rows[-1]["task"] == name:
                rows[-1] |= row  # another filter's reading of the same answer
            else:
                rows.append(row)
        name = names[task]
        if name in judged:
            items = sorted(items, key=lambda item: item["doc_id"])
            docs, given = [item["doc"] for item in items], [item["filtered_resps"][0] for item in items]
            verdicts = judge_rows(name, judged[name], docs, given, params, journal or Journal())
            for row, verdict in zip([row for row in rows if row["task"] == name], verdicts, strict=True):
                merged = row | verdict  # the first metric is the one that is shown and compared
                row.clear()
                row |= {key: merged[key] for key in ("task", "id", *FIGURES, "majority") if key in merged}
    return rows


def score_over_seeds(
    network: Any, tokenizer: Any, benchmarks: Path, params: Evaluation, journal: Journal | None = None
) -> tuple[list[Row], dict[str, dict[str, float]]]:
    """(rows, spread): as `score_benchmarks`, each value the mean over `params.fewshot_seeds`.

    `spread` gives, for each task, the number of seeds and each metric's standard deviation between them
    (of the mean log-likelihood where the metric is a perplexity); {} where one seed or no example was asked for.
    """
    seeds = params.fewshot_seeds if params.num_fewshot else params.fewshot_seeds[:1]
    runs = [score_benchmarks(network, tokenizer, benchmarks, params, seed, journal) for seed in seeds]
    if len(runs) == 1:
        return runs[0], {}
    by_task = [{task: [row for row in rows if row["task"] == task] for task in {row["task"]: 0 for row in rows}}
               for rows in runs]  # fmt: skip
    rows = [row for members in average(by_task).values() for row in members]
    spread: dict[str, dict[str, float]] = {}
    for task, members in by_task[0].items():
        spread[task] = {"seeds": len(runs)}
        for metric in (key for key in members[0] if key not in NO_METRICS):
            means = [mean_and_error([row[metric] for row in one[task]])[0] for one in by_task]
            spread[task][f"{metric}_seed_sd"] = stdev(means)
    return rows, spread


def summarize(rows: list[Row], touched: dict[str, set[str]] | None = None) -> dict[str, dict[str, Any]]:
    """Per task: each metric with standard error and 95 % interval, baselines, items, and what these items can show.

    With `touched` (task -> ids of items that training documents hold in part) the first metric is also
    given on clean and on touched items.
    """
    tasks: dict[str, list[Row]] = {}
    for row in rows:
        tasks.setdefault(row["task"], []).append(row)
    scores: dict[str, dict[str, Any]] = {}
    for task, members in tasks.items():
        entry = catalog().get(task)
        score: dict[str, Any] = {"items": len(members)}
        for metric in (key for key in members[0] if key not in NO_METRICS):
            values = [row[metric] for row in members]
            score |= _perplexity(values) if metric == "perplexity" else scored(values, metric)
        first = main_metric(task, members[0])
        score["metric"] = first
        score |= {name: mean_and_error([row[name] for row in members])[0] for name in BASELINES if name in members[0]}
        if entry and entry.chance is not None:
            score["chance"] = entry.chance
        score["detectable"] = detectable_difference([row[first] for row in members])
        if touched is not None:
            dirty = touched.get(task, set())
            for kind, wanted in (("clean", False), ("touched", True)):
                part = [row[first] for row in members if (row["id"] in dirty) == wanted]
                score[f"items_{kind}"] = len(part)
                if part:
                    score |= scored(part, f"{first}_{kind}")
        scores[task] = score
    return scores


def _perplexity(log_likelihoods: list[float]) -> dict[str, float]:
    """exp of minus the mean; the error by the delta method, the interval's ends change places."""
    found = scored(log_likelihoods, "perplexity")
    mean, error, low, high = found.values()
    with np.errstate(over="ignore"):
        ends = [float(np.exp(-value)) for value in (mean, high, low)]
    return dict(zip(found, (ends[0], ends[0] * error, *ends[1:]), strict=True))


def _number(value: Any) -> float:
    return float(value[0] if isinstance(value, list | tuple) else value)
