"""The first figures that Dagster shows of a stage: a few, as floats with their unit in the name, so that they plot over
time; and all the others in one table in the order of their names.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from llm_core.formats import names

MOST = 5
Metrics = Mapping[str, Any]
Figures = Iterator[tuple[str, Any]]


def headlines(group: str, metrics: Metrics) -> dict[str, float]:
    """Name with unit -> value, of the metrics.json of a stage whose group in dvc.yaml is `group`; {} for an unknown
    one. A figure that is missing or no number is left out."""
    read = READERS.get(group)
    found = {name: round(float(value), 6) for name, value in read(metrics) if _is_number(value)} if read else {}
    return dict(list(found.items())[:MOST])


def _documents(metrics: Metrics) -> Figures:
    yield "documents kept", metrics.get("documents_kept")
    yield "documents dropped", metrics.get("documents_dropped")
    yield "documents dropped, %", _percent(metrics.get("documents_dropped"), metrics.get("documents_in"))
    yield "text kept, MB", _scaled(metrics.get("bytes_kept"), 1e-6)


def _split(metrics: Metrics) -> Figures:
    yield "documents for training", metrics.get("train_documents")
    yield "documents held out", metrics.get("heldout_documents")
    yield "text for training, MB", _scaled(metrics.get("train_bytes"), 1e-6)


def _tokenizer(metrics: Metrics) -> Figures:
    yield "vocabulary, tokens", metrics.get("vocab_size")
    yield "bytes per token", metrics.get("bytes_per_token")
    yield "tokens per word", metrics.get("fertility")


def _tokens(metrics: Metrics) -> Figures:
    for side, name in (("train", "training"), ("heldout", "held-out")):
        yield f"{name} tokens, millions", _scaled(metrics.get(side, {}).get("tokens"), 1e-6)
    yield "bytes per token", metrics.get("train", {}).get("bytes_per_token")


def _pretraining(metrics: Metrics) -> Figures:
    yield "held-out text, bits per byte", metrics.get("heldout_bits_per_byte")
    yield "training loss at the end, nats per token", metrics.get("final_loss")
    yield "tokens trained on, millions", _scaled(metrics.get("tokens"), 1e-6)
    yield "parameters, millions", _scaled(metrics.get("parameters"), 1e-6)


def _finetuning(metrics: Metrics) -> Figures:
    """The method's figures after finetuning, those with an interval first; how they rose where that is known."""
    from llm_core.training.finetuning.registry import methods

    method = methods().get(str(metrics.get("method")))
    after = metrics.get("after", {})
    for name in sorted(after, key=lambda name: (not isinstance(after[name], dict), name)):
        value = after[name]
        known = method.figure(name) if method else None
        title = known.title if known else names.words(name)
        unit = f", {known.unit}" if known and known.unit else ""
        yield f"{title}{unit}", value.get("mean", value.get("value")) if isinstance(value, dict) else value


def _evaluation(metrics: Metrics) -> Figures:
    from llm_core.evaluation.catalog import main_metric

    yield "held-out text, bits per byte", metrics.get("bits_per_byte", {}).get("all", {}).get("bits_per_byte")
    if own := metrics.get("finetuned"):
        yield f"{names.words(own['score'])} on test rows", own.get(own["score"])
    if answers := metrics.get("answers"):
        yield f"own questions{names.guessed(answers)}, right answers, %", _scaled(answers.get("exact_match"), 100)
    for task, score in metrics.get("benchmarks", {}).items():
        metric = main_metric(task, score)
        if metric != "perplexity":
            yield f"{names.benchmark(task)}, right answers, %", _scaled(score.get(metric), 100)


READERS: dict[str, Callable[[Metrics], Figures]] = {
    **dict.fromkeys(("download", "clean", "dedup", "decontaminate"), _documents),
    "split": _split,
    "tokenizer": _tokenizer,
    "tokenize": _tokens,
    "pretrain": _pretraining,
    "finetune": _finetuning,
    **dict.fromkeys(("evaluate", "evaluate-run"), _evaluation),
}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _scaled(value: Any, factor: float) -> float | None:
    return round(value * factor, 6) if _is_number(value) else None


def _percent(part: Any, whole: Any) -> float | None:
    return round(100 * part / whole, 6) if _is_number(part) and _is_number(whole) and whole else None
