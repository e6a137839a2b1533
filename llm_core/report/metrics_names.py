"""How each key of a whole metrics.json is named for people, at any depth, and which keys have no name."""

from collections.abc import Callable
from functools import partial
from typing import Any

from llm_core.formats.names import benchmark, kind, known_figure, reason, words


def below(key: str, method: str = "") -> Callable[[str], str] | None:
    """How the keys below `key` in a metrics.json are named where they are no figures of FIGURES: names of the data's
    (sources, reasons, benchmarks, …), or figures that the finetuning method `method` describes; else None."""
    if key in ("before", "after") and method:
        return partial(_of_method, method)
    return of_data if key in DEEP else NAMED_BY_DATA.get(key)


def nameless(metrics: dict[str, Any]) -> set[str]:
    """Keys of a metrics.json that have no name here, not counting those that are the data's (sources, reasons, …).

    >>> nameless({"acc": 1, "my_key": 2, "by_source": {"a_b": {"tokens": 3}}})
    {'my_key'}
    """
    found = set()
    for key, value in metrics.items():
        if not known_figure(key):
            found.add(key)
        named = below(key, metrics.get("method", ""))
        if isinstance(value, dict) and named is not of_data:
            inner = [value] if named is None else value.values()
            found |= {name for part in inner if isinstance(part, dict) for name in nameless(part)}
    return found


def _of_method(method: str, key: str) -> str:
    from llm_core.training.finetuning.registry import methods

    found = methods().get(method)
    known = found.figure(key) if found else None
    return f"{known.title}, {known.unit}" if known and known.unit else known.title if known else words(key)


def of_data(key: str) -> str:
    """A name of the data's at any depth, without its underscores."""
    return words(key)


NAMED_BY_DATA: dict[str, Callable[[str], str]] = {
    "baseline": words,
    "baselines": words,
    "benchmarks": benchmark,
    "bits_per_byte": str,
    "by_source": str,
    "benchmark_clusters": str,
    "dropped_by_reason": reason,
    "dropped_share": str,
    "items": benchmark,
    "kinds": kind,
    "libraries": str,
    "records_skipped": words,
    "sampled_share": str,
}
DEEP = ("changed_by_step", "found", "languages", "length_characters")
"""Keys below which there are names of the data's at every depth."""
