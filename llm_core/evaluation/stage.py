"""`evaluate`: all that is measured of one model, each score with its error and its baselines.

`metrics.json` is small (DVC and MLflow show it); `results.jsonl` has a row for every item, so
that models are compared on the same items later; `samples.json` continues the prompts of the
params. Seeds and clocks leave no trace: the same model, items and params give the same bytes. A run that was killed
goes on with the next batch (`journal.py`), and gives the same bytes, too.
"""

import json
import math
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.evaluation.chat_answers import answer_questions, generate, summarize_answers
from llm_core.evaluation.clusters import clusters
from llm_core.evaluation.finetuned import read_tested, summarize_tested
from llm_core.evaluation.gold import GOLD
from llm_core.evaluation.harness import score_over_seeds, summarize
from llm_core.evaluation.journal import Journal
from llm_core.evaluation.judge import described, doubts, judges, refuse_itself
from llm_core.evaluation.language_modelling import (
    Row,
    Text,
    read_texts,
    score_texts,
    summarize_texts,
    xz_bits_per_byte,
)
from llm_core.evaluation.own import own_benchmarks
from llm_core.evaluation.results import by_kind
from llm_core.evaluation.tracked import digest, figures, track
from llm_core.formats.names import benchmark, figure
from llm_core.formats.names import kind as kind_in_words
from llm_core.kernels.ngram import NgramModel
from llm_core.models import loading
from llm_core.models.family import kind_of
from llm_core.models.prompts import encode_prompt
from llm_core.params import Params
from llm_core.params.evaluation import Ngram
from llm_core.runtime import json_lines
from llm_core.runtime.digests import content_digest, short_hash
from llm_core.runtime.progress import log, report, timed
from llm_core.runtime.storage import output_folder, read_json, write_json

Metrics = dict[str, Any]
BASELINE_WORDS = {"chance": "chance", "majority": "most frequent answer"}
UNTRAINED = Path(".scratch/untrained")
NO_SHAPE = ("_name_or_path", "architectures", "dtype", "transformers_version", "use_cache")
"""Entries of a config that do not decide what a network with random weights computes."""


def evaluate(
    model: Path,
    out: Path,
    params: Params,
    *,
    inputs: list[str] | None = None,
    benchmarks: Path | None = None,
    answers: Path | None = None,
    touched: Path | None = None,
    trained_on: list[str] | None = None,
) -> Metrics:
    """Measure `model` (a folder in Hugging Face layout, or its name on the hub) and write `out`; the metrics.

    `inputs`: held-out documents or .txt files; `benchmarks`: the folder of `fetch-benchmarks`; `answers`: a
    test file of chat questions; `touched`: decontaminate's touched_items.jsonl; `trained_on`: documents from which
    the n-gram baseline is counted, where params ask for it. What is None is not measured.
    A finetuned model that is no causal language model (a classifier, an encoder) has the scores of its own test rows
    alone. Raises UserError: no model that can be scored at `model`, a file missing or of another kind.
    """
    started, tested = time.time(), read_tested(model)
    if tested and not continues_text(model):
        return _write(model, out, params, {"finetuned": summarize_tested(model, *tested)}, tested[1], [], {}, started)
    chosen = params.evaluation
    if benchmarks:
        refuse_itself(model, benchmarks, chosen.tasks)
    network, tokenizer = load(model, chosen.dtype)
    journal = _journal(model, chosen.dtype, params.seed)
    metrics: Metrics = {"parameters": sum(parameter.numel() for parameter in network.parameters())}
    rows: list[Row] = []
    if inputs and kind_of(network.config) == "encoder-decoder":
        log("evaluate: an encoder-decoder has no bits per byte of running text, which it does not continue")
        inputs = None
    if inputs:
        texts = read_texts(inputs, tokenizer, chosen.language_modelling.tokens_per_source)
        with timed("bits per byte"):
            rows += score_texts(network, texts, chosen.language_modelling, chosen.batch_size, "bits per byte", journal)
            metrics["bits_per_byte"] = _language_modelling(rows, texts, model, params, journal)
            if chosen.language_modelling.ngram and trained_on:
                _add_ngram(metrics["bits_per_byte"], texts, tokenizer, trained_on, chosen.language_modelling.ngram)
    if benchmarks and chosen.tasks:
        if unscored := sorted(own_benchmarks(benchmarks).keys() - set(chosen.tasks)):
            log(f"evaluate: {', '.join(unscored)}: own benchmarks that evaluation.tasks does not name are not scored")
        with timed(f"benchmarks {', '.join(chosen.tasks)}"):
            items, spread = score_over_seeds(network, tokenizer, benchmarks, chosen, journal)
        rows += items
        scores = summarize(items, read_touched(touched) if touched else None)
        metrics["benchmarks"] = {task: score | spread.get(task, {}) for task, score in scores.items()}
        if found := clusters(scores):
            metrics["benchmark_clusters"] = found
        for task, judge in judges(benchmarks).items():
            if score := metrics["benchmarks"].get(task):
                score["judged_by"] = described(judge)
                if doubt := doubts(score):
                    score["judge_doubt"] = doubt
                    log(f"evaluate: {task}: {doubt}")
    if answers and tokenizer.chat_template:
        with timed("answers"):
            items = answer_questions(
                network, tokenizer, answers, chosen.answers, chosen.answer_tokens, chosen.batch_size, journal
            )
        rows += items
        metrics["answers"] = summarize_answers(items)
    if tested and tested[0] not in {row["task"] for row in rows}:
        rows += tested[1]
        metrics["finetuned"] = summarize_tested(model, *tested)
    samples = [] if not chosen.prompts else _samples(network, tokenizer, chosen.prompts)
    datasets = dict.fromkeys([*(inputs or []), *([str(benchmarks)] if benchmarks else [])], "evaluation")
    metrics = _write(model, out, params, metrics, rows, samples, datasets, started)
    journal.finish()
    return metrics


def _journal(model: Path, dtype: str, seed: int) -> Journal:
    """The journal of a model in a folder; of one on the hub, whose content its name does not say, none is kept."""
    import torch

    if not Path(model).is_dir():
        return Journal()
    versions = [f"{package} {version(package)}" for package in ("torch", "transformers", "lm_eval")]
    return Journal(content_digest(model), dtype, str(seed), str(torch.get_num_threads()), *versions)  # seed: untrained


def _write(
    model: Path,
    out: Path,
    params: Params,
    metrics: Metrics,
    rows: list[Row],
    samples: list[dict[str, str]],
    datasets: dict[str, str],
    started: float,
) -> Metrics:
    """Write the four files of an evaluation, note it in the tracker, and show its figures."""
    metrics = rounded(metrics)
    with output_folder(out) as folder:
        write_json(folder / "metrics.json", metrics)
        write_json(folder / "samples.json", samples)
        write_json(
            folder / "about.json", {"model": str(model), "digest": digest(model), "tasks": params.evaluation.tasks}
        )
        json_lines.write_rows(folder / "results.jsonl", rows)
    track(model, out, params, metrics, lines(metrics), datasets, started)
    report({"figures": figures(metrics)})
    for line in lines(metrics):
        log(line)
    return metrics


def load(model: Path, dtype: str = "float32") -> tuple[Any, Any]:
    """(network in eval mode, tokenizer). Raises UserError where `model` is no language model."""
    loaded = loading.load(model, dtype=dtype)
    return loaded.network, loaded.tokenizer


def continues_text(model: Path) -> bool:
    """Whether `model` is a causal language model."""
    try:
        loading.check_purpose(model, loading.read_config(model), "language", ("decoder",))
    except UserError:
        return False
    return True


def read_touched(file: Path) -> dict[str, set[str]]:
    """benchmark -> ids of the items that training documents hold in part."""
    found: dict[str, set[str]] = {}
    if not file.exists():
        raise UserError(f"{file}: no such file (llm-core decontaminate writes it)")
    for number, row in json_lines.read_rows(file):
        if not {"benchmark", "id"} <= row.keys():
            raise UserError(f"{file}:{number}: not a list of touched items (needs benchmark and id)")
        found.setdefault(row["benchmark"], set()).add(row["id"])
    return found


def lines(metrics: Metrics) -> list[str]:
    """What a person sees at the end: never a score without its error."""
    told = []
    for source, score in metrics.get("bits_per_byte", {}).items():
        beside = "".join(
            f", {name} {score[name]:.3f}" for name in ("xz", "ngram", "untrained") if score.get(name) is not None
        )
        told.append(f"bits per byte, {source}: {with_error(score, 'bits_per_byte')}{beside}")
    for task, score in metrics.get("benchmarks", {}).items():
        shown = [key for key in score if f"{key}_stderr" in score and not key.endswith(("_clean", "_touched"))]
        chance = "".join(f", {words} {score[name]:.3f}" for name, words in BASELINE_WORDS.items() if name in score)
        values = ", ".join(f"{figure(key)} {with_error(score, key)}" for key in shown)
        seeds = f", {score['seeds']:.0f} draws of examples" if "seeds" in score else ""
        judge = f", judged by {score['judged_by']}" if "judged_by" in score else ""
        told.append(f"{benchmark(task)}: {values}{chance} ({score['items']} items{seeds}{judge})")
    for cluster, score in metrics.get("benchmark_clusters", {}).items():
        values = ", ".join(f"{figure(key)} {with_error(score, key)}" for key in GOLD if key in score)
        told.append(f"{cluster}: {values} (mean of {score['benchmarks']:.0f} benchmarks)")
    if answer := metrics.get("answers"):
        for kind, score in by_kind(answer).items():
            baseline = f"most frequent answer {score['most_frequent_answer']:.4f}"
            name = f"exact match{kind and ', '}{kind and kind_in_words(kind)}"
            guessed = "" if score.get("answerable", True) else ", guessed: nothing that it read has their answers"
            told.append(f"{name}: {with_error(score, 'exact_match')}, {baseline} ({score['items']} questions{guessed})")
    if own := metrics.get("finetuned"):
        beside = "".join(f", {name.replace('_', ' ')} {value:.4f}" for name, value in own["baselines"].items())
        told.append(f"{figure(own['score'])}: {with_error(own, own['score'])}{beside} ({own['items']} test rows)")
    return told


def with_error(score: Mapping[str, Any], metric: str) -> str:
    """`0.2600 ± 0.0627`; the interval instead where items do not vary, and without one the words for it."""
    value = score[metric]
    if value is None:
        return "not a finite number"
    error, low, high = (score.get(f"{metric}_{part}") for part in ("stderr", "low", "high"))
    if error and math.isfinite(error):
        digits = ",.0f" if abs(value) >= 1000 else ".4f"
        return f"{value:{digits}} ± {error:{digits}}"
    known = low is not None and high is not None and low < high
    return f"{value:.4f} " + (
        f"[{low:.4f}, {high:.4f}]" if known else "(error unknown: one item or group, or all alike)"
    )


def rounded(value: Any) -> Any:
    """Floats to 12 significant digits, those that are not finite to null: what JSON and every processor agree on."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return float(f"{value:.12g}") if math.isfinite(value) else None
    return value


def _language_modelling(rows: list[Row], texts: list[Text], model: Path, params: Params, journal: Journal) -> Metrics:
    scores = summarize_texts(rows)
    for source, value in xz_bits_per_byte(texts).items():
        scores[source]["xz"] = value
    if params.evaluation.language_modelling.untrained:
        for source, value in untrained_bits_per_byte(model, texts, params, journal).items():
            scores[source]["untrained"] = value
    return scores


def untrained_bits_per_byte(model: Path, texts: list[Text], params: Params, journal: Journal) -> dict[str, float]:
    """Bits per byte, by source and for all, of the model's network with random weights.

    A finetune has its parent's network, so the figures are the same for both. They are kept in `.scratch` under what
    decides them, and computed once.
    """
    import torch

    settings, batch = params.evaluation.language_modelling, params.evaluation.batch_size
    config = {key: value for key, value in loading.read_config(model).to_dict().items() if key not in NO_SHAPE}
    versions = [f"{package} {version(package)}" for package in ("torch", "transformers")]
    numbers = [params.seed, settings.context, settings.stride, batch, torch.get_num_threads()]
    key = short_hash(
        json.dumps(config, sort_keys=True, default=str), json.dumps(numbers), str(loading.choose_device()), *versions,
        *(json.dumps([text.id, text.source, text.ids]) for text in texts),
    )  # fmt: skip
    file = UNTRAINED / f"{key}.json"
    if not file.is_file():
        rows = score_texts(loading.untrained(model, params.seed), texts, settings, batch, "untrained", journal)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {source: score["bits_per_byte"] for source, score in summarize_texts(rows).items()})
    found: dict[str, float] = read_json(file)
    return found


def _add_ngram(scores: Metrics, texts: list[Text], tokenizer: Any, trained_on: list[str], settings: Ngram) -> None:
    """Add the n-gram model's bits per byte to each source's scores, in place."""
    read = read_texts(trained_on, tokenizer, settings.tokens_per_source)
    counted = NgramModel.of([text.ids for text in read], settings.order, len(tokenizer))
    bits = [float(counted.bits(text.ids).sum()) for text in texts]
    sizes = [len(text.text.encode("utf-8", "surrogatepass")) for text in texts]
    for source, score in scores.items():
        mine = [at for at, text in enumerate(texts) if source in ("all", text.source)]
        score["ngram"] = sum(bits[at] for at in mine) / sum(sizes[at] for at in mine)


def _samples(network: Any, tokenizer: Any, prompts: list[str]) -> list[dict[str, str]]:
    kind = kind_of(network.config)
    ids = [encode_prompt(tokenizer, prompt, kind) for prompt in prompts]
    texts = generate(network, tokenizer, ids, 40)
    return [{"prompt": prompt, "continuation": text} for prompt, text in zip(prompts, texts, strict=True)]
