"""Local task files for lm-eval-harness: its own definitions, with our items in place of the hub's.

Each file includes lm-eval's YAML by its absolute path and replaces only where the data lies, so
prompts, choices and metrics cannot drift from lm-eval's. The same folder serves its command line:
`lm-eval run --include_path FOLDER --tasks arc_easy …`.
"""

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.evaluation.catalog import Benchmark
from llm_core.evaluation.definitions import SPLITS, Definition
from llm_core.evaluation.own import own_benchmarks, scored_by
from llm_core.runtime import json_lines
from llm_core.runtime.storage import output_file


def write_tasks(
    names: list[str], benchmarks: Path, folder: Path, limit: int | None = None, num_fewshot: int = 0
) -> tuple[dict[str, list[int]], dict[str, str]]:
    """Write task files to `folder`; lm-eval's task -> positions of the items to score, and task -> name in `names`.

    `mmlu` becomes one task a subject, as in lm-eval, and any group its tasks; its `limit` spreads over all of them.
    Raises UserError where a task is unknown, its items are not in `benchmarks`, or there are fewer solved examples than
    `num_fewshot` asks for.
    """
    if limit is not None and limit < 1:
        raise UserError(f"evaluation.limit: {limit} items leave nothing to score; give 1 or more, or null for all")
    chosen: dict[str, list[int]] = {}
    owners: dict[str, str] = {}
    own = own_benchmarks(benchmarks)
    for name in names:
        file, fewshot = benchmarks / f"{name}.jsonl", benchmarks / f"{name}.fewshot.jsonl"
        if not file.is_file():
            raise UserError(
                f"{file}: no items of '{name}' here; run `llm-core fetch-benchmarks --out {benchmarks}` "
                "with it in evaluation.benchmarks.tasks (or evaluation.benchmarks.own)"
            )
        entry = scored_by(name, own)
        parts = _by_task(name, file, entry)
        examples = _by_task(name, fewshot, entry) if fewshot.is_file() else {}
        if not parts:
            raise UserError(
                f"{file}: the file holds no items of '{name}'; run `llm-core fetch-benchmarks --out {benchmarks}` again"
            )
        wanted = set(spread(sum(map(len, parts.values())), limit))
        for task, members in parts.items():
            if task in owners:
                raise UserError(f"evaluation.tasks: '{name}' and '{owners[task]}' both hold '{task}'; name one of them")
            _enough_examples(task, entry, num_fewshot, members, examples.get(task, []))
            paths = []
            for kind, rows in (("items", members), ("fewshot", examples.get(task, []))):
                if rows:
                    paths.append(folder / f"{task}.{kind}.jsonl")
                    with output_file(paths[-1]) as stream:
                        stream.writelines(line for _, line in rows)
            if isinstance(entry, Benchmark):
                config = _known(entry, task, name, *paths)
            else:
                config = _other(entry, task, name, *paths)
            _write(folder, task, config)
            owners[task] = name
            positions = [place for place, (number, _) in enumerate(members) if number in wanted]
            if positions:
                chosen[task] = positions
    return chosen, owners


def _enough_examples(
    task: str, entry: Benchmark | Mapping[str, Definition], asked: int, items: list[Any], examples: list[Any]
) -> None:
    """Raise UserError where `asked` solved examples cannot be drawn: an item is never its own example."""
    own: int | None = 0
    if asked and not isinstance(entry, Benchmark) and task in entry:
        own = entry[task].own_examples
    there = own or len(examples) or len(items) - 1
    if own is not None and asked > there:
        raise UserError(
            f"evaluation.num_fewshot: {asked} solved examples are asked for and '{task}' has {there} for each item; "
            f"set it to {there} or fewer"
        )


def spread(count: int, limit: int | None) -> list[int]:
    """`limit` of `count` positions, one in each of as many equal parts: the first ones alone may be all of one kind.

    Within its part a position moves on by the golden ratio (Weyl's sequence), so that rows which repeat a pattern, such
    as three kinds of question in turn, are drawn in their shares.
    """
    if limit is None or limit >= count:
        return list(range(count))
    starts = [place * count // limit for place in range(limit + 1)]
    golden = (math.sqrt(5) - 1) / 2
    return [
        start + int((place + 1) * golden % 1 * (end - start))
        for place, (start, end) in enumerate(itertools.pairwise(starts))
    ]


def _by_task(name: str, file: Path, entry: Benchmark | Mapping[str, Definition]) -> dict[str, list[tuple[int, str]]]:
    """lm-eval's task -> (number, line) of its items in a file of one task, of MMLU, or of a group."""
    parts: dict[str, list[tuple[int, str]]] = {}
    divided = isinstance(entry, Benchmark) and "{subject}" in entry.definition
    for number, row in enumerate(json_lines.load_rows(file)):
        task = f"{name}_{row['subject']}" if divided else name
        if not isinstance(entry, Benchmark):
            task = row.get("subtask", name)
        parts.setdefault(task, []).append((number, json_lines.dump(row)))
    return parts


def _known(entry: Benchmark, task: str, name: str, items: Path, fewshot: Path | None = None) -> dict[str, Any]:
    """The catalog's: examples come from the scored set, but for those that have a set of their own."""
    import lm_eval.tasks

    if isinstance(entry.definition, str):
        definition = entry.definition.format(subject=task.removeprefix(f"{name}_"))
        own: dict[str, Any] = {"include": str(Path(lm_eval.tasks.__file__).parent / definition)}
    else:
        own = dict(entry.definition)
    return {
        **own,
        "dataset_kwargs": {"data_files": {entry.split: str(items)} | ({"dev": str(fewshot)} if fewshot else {})},
        "training_split": None,
        "validation_split": None,
        "test_split": entry.split,  # lm-eval keeps an item from being its own example in this split alone
        "fewshot_split": "dev" if fewshot else entry.split,
    }


def _other(
    found: Mapping[str, Definition], task: str, name: str, items: Path, fewshot: Path | None = None
) -> dict[str, Any]:
    """lm-eval's own splits, as far as they were fetched."""
    if task not in found:
        raise UserError(f"benchmark '{name}': lm-eval-harness knows no '{task}' in it")
    entry = found[task]
    files = {entry.split: str(items)}
    if fewshot and entry.fewshot:
        files[entry.fewshot] = str(fewshot)
    kept = {key: value if (value := entry.splits.get(key)) in files else None for key in SPLITS}
    return {"include": str(entry.file.expanduser().absolute()), "dataset_kwargs": {"data_files": files}, **kept}


def _write(folder: Path, task: str, config: dict[str, Any]) -> None:
    import yaml

    config["dataset_kwargs"]["cache_dir"] = str((folder / "cache").resolve())
    function = config.pop("process_results", None)
    with output_file(folder / f"{task}.yaml") as stream:
        yaml.safe_dump({**config, "task": task, "dataset_path": "json", "dataset_name": None}, stream, sort_keys=False)
        if function:  # an own benchmark's; safe_dump writes no tags
            stream.write(f"process_results: !function {function}\n")
