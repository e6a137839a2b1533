"""Any task of lm-eval-harness by its name: its own definition, and where on the hub its items lie.

The catalog names the benchmarks whose items are in the data package. Every other name is looked up in lm-eval's
index (7 CPU seconds, once a process). A group or a tag (`blimp`) means all its tasks.
"""

import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.errors import UserError

OUTPUTS = ("multiple_choice", "loglikelihood", "generate_until")
SPLITS = ("training_split", "validation_split", "test_split", "fewshot_split")
MEANS = {"acc", "acc_norm", "exact_match"}  # metrics that lm-eval averages where a definition does not say how


class Definition(NamedTuple):
    """One task of lm-eval-harness, as far as its items are concerned."""

    file: Path
    dataset: str
    config: str | None
    kwargs: dict[str, Any]
    """further arguments of datasets.load_dataset"""
    split: str
    """the split that is scored: test, else validation"""
    fewshot: str | None
    """the split that examples come from, where it is another"""
    splits: dict[str, str]
    """the definition's own names of its splits, by their key"""
    metrics: list[str]
    """those that are a mean over items (or a perplexity), so that errors, pairs and gates hold; the first is shown"""
    own_examples: int | None = 0
    """number of solved examples that the definition itself brings; None where a function makes them"""


@cache
def definitions(name: str) -> dict[str, Definition]:
    """task -> definition, of a task's, a group's or a tag's name. Raises UserError: unknown, or not scored here."""
    return {task: _definition(task, file, config) for task, file, config in _leaves(name)}


def task_definition(task: str, file: Path, config: dict[str, Any]) -> Definition:
    """The definition of a user's task file. Raises UserError: not scored here, or no local files of its split."""
    if "class" in config or isinstance(config.get("task"), list) or "group" in config:
        raise UserError(f"{file}: one task of lm-eval-harness is needed, not a group or a program")
    found = _definition(task, file, config, local=True)
    if not isinstance((config.get("dataset_kwargs") or {}).get("data_files"), dict):
        raise UserError(
            f"{file}: its items must be local files: dataset_kwargs: {{data_files: {{{found.split}: FILE}}}}"
        )
    return found


def is_task(name: str) -> bool:
    """Whether lm-eval-harness itself has a task, group or tag of this name.

    A name that no task file of the package holds is none: a search of a second instead of the index's seven.
    """
    return name.encode() in _task_files() and name in _index()


@cache
def _task_files() -> bytes:
    """All task files of the installed lm-eval-harness, one after the other."""
    from importlib.util import find_spec

    package = find_spec("lm_eval")
    assert package and package.origin
    return b"\n".join(file.read_bytes() for file in (Path(package.origin).parent / "tasks").rglob("*.yaml"))


@cache
def _index() -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return TaskManager().task_index


def _leaves(name: str) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    from lm_eval.tasks._index import Kind

    entry = _index().get(name)
    if entry is None:
        raise UserError(
            f"benchmark '{name}': lm-eval-harness has no task, group or tag of this name (`lm_eval ls tasks`)"
        )
    if entry.kind is Kind.TASK:
        yield name, entry.yaml_path, entry.cfg
    elif entry.kind is Kind.PY_TASK:
        raise UserError(f"benchmark '{name}': lm-eval defines it by a program, not by data; run it by `lm_eval run`")
    else:
        for part in sorted(entry.tags) if entry.kind is Kind.TAG else entry.cfg["task"]:
            if not isinstance(part, str):
                raise UserError(f"benchmark '{name}': a group of variants; name its single tasks instead")
            yield from _leaves(part)


def _definition(task: str, file: Path, config: dict[str, Any], local: bool = False) -> Definition:
    """`local`: the items are files that `data_files` names."""
    kind = config.get("output_type", "generate_until")
    if kind == "loglikelihood_rolling":
        raise UserError(f"benchmark '{task}': measures perplexity of texts; give these to `llm-core evaluate --in`")
    metrics = [
        str(entry["metric"]).rpartition(".")[2]  # of a function its name, as lm-eval calls the metric
        for entry in config.get("metric_list") or [{"metric": "acc" if kind == "multiple_choice" else "exact_match"}]
        if entry.get("aggregation", "mean" if entry["metric"] in MEANS else "") in ("mean", "perplexity")
        and (entry.get("higher_is_better", True) or entry["metric"] == "perplexity")
    ]
    if kind not in OUTPUTS or not metrics:
        raise UserError(f"benchmark '{task}': none of its metrics is a mean over items; run it by `lm_eval run`")
    if config.get("unsafe_code"):
        raise UserError(f"benchmark '{task}': runs the program that the model writes; never done here")
    split = config.get("test_split") or config.get("validation_split")
    if not split:
        raise UserError(f"benchmark '{task}': it has no test_split and no validation_split, so nothing to score")
    if not local and (
        "data_files" in (config.get("dataset_kwargs") or {})
        or "custom_dataset" in config
        or not config.get("dataset_path")
    ):
        raise UserError(f"benchmark '{task}': its items are no data set on a hub; run it by `lm_eval run`")
    examples = (config.get("fewshot_config") or {}).get("samples")
    fewshot = next(filter(None, map(config.get, ("fewshot_split", "training_split", "validation_split"))), None)
    kwargs = {key: value for key, value in (config.get("dataset_kwargs") or {}).items() if key != "trust_remote_code"}
    return Definition(
        file,
        config.get("dataset_path") or "json",
        config.get("dataset_name"),
        kwargs,
        split,
        None if examples or fewshot == split else fewshot,
        {key: config[key] for key in SPLITS if config.get(key)},
        metrics,
        len(examples) if isinstance(examples, list) else None if examples else 0,
    )
