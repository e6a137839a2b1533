"""Local task files for lm-eval-harness: its own definitions, with our items in place of the hub's.

Each file includes lm-eval's YAML by its absolute path and replaces only where the data lies, so
prompts, choices and metrics cannot drift from lm-eval's. The same folder serves its command line:
`lm-eval run --include_path FOLDER --tasks arc_easy …`.
"""

import json
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.evaluation.catalog import Benchmark, benchmark
from llm_core.storage import output_file


def write_tasks(names: list[str], benchmarks: Path, folder: Path, limit: int | None = None) -> dict[str, list[int]]:
    """Write a task file for each name to `folder`; lm-eval's task name -> positions of the items to score.

    `mmlu` becomes one task a subject, as in lm-eval; its `limit` spreads over all subjects.
    Raises UserError where a task is unknown or its items are not in `benchmarks`.
    """
    chosen: dict[str, list[int]] = {}
    for name in names:
        entry = benchmark(name)
        file = benchmarks / f"{name}.jsonl"
        if not file.is_file():
            raise UserError(f"{file}: no items of '{name}' here; run `llm-core fetch-benchmarks --out {benchmarks}`")
        if "{subject}" not in entry.definition:
            _write(folder, name, entry.definition, entry, file)
            with open(file, "rb") as stream:
                chosen[name] = spread(sum(1 for _ in stream), limit)
            continue
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        wanted = set(spread(len(lines), limit))
        rows = _by_subject(lines)
        examples = _by_subject((benchmarks / f"{name}.fewshot.jsonl").read_text(encoding="utf-8").splitlines(True))
        for subject, members in rows.items():
            for kind, part in (("items", members), ("fewshot", examples[subject])):
                with output_file(folder / f"{name}_{subject}.{kind}.jsonl") as stream:
                    stream.writelines(line for _, line in part)
            file = folder / f"{name}_{subject}.items.jsonl"
            task = f"{name}_{subject}"
            _write(folder, task, entry.definition.format(subject=subject), entry, file)
            positions = [place for place, (number, _) in enumerate(members) if number in wanted]
            if positions:
                chosen[task] = positions
    return chosen


def spread(count: int, limit: int | None) -> list[int]:
    """`limit` of `count` positions, evenly apart: the first ones alone may be all of one kind."""
    if limit is None or limit >= count:
        return list(range(count))
    return [place * count // limit for place in range(limit)]


def _by_subject(lines: list[str]) -> dict[str, list[tuple[int, str]]]:
    subjects: dict[str, list[tuple[int, str]]] = {}
    for number, line in enumerate(lines):
        subjects.setdefault(json.loads(line)["subject"], []).append((number, line))
    return subjects


def _write(folder: Path, task: str, definition: str, entry: Benchmark, items: Path) -> None:
    import lm_eval.tasks
    import yaml

    data = {entry.split: str(items.resolve())}
    fewshot = items.with_name(items.name.replace(".items.jsonl", ".fewshot.jsonl"))
    if entry.fewshot:
        data["dev"] = str(fewshot.resolve())
    config: dict[str, Any] = {
        "include": str(Path(lm_eval.tasks.__file__).parent / definition),
        "task": task,
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": data, "cache_dir": str((folder / "cache").resolve())},
        "training_split": None,
        "validation_split": None if entry.split == "test" else entry.split,
        "test_split": "test" if entry.split == "test" else None,
        "fewshot_split": "dev" if entry.fewshot else entry.split,
    }
    with output_file(folder / f"{task}.yaml") as stream:
        yaml.safe_dump(config, stream, sort_keys=False)
