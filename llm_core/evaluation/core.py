"""CORE: the centred accuracy of a base model over tasks in context, as nanochat computes it.

The measure is DCLM's (Li et al. 2024, arXiv:2406.11794): the accuracy of each task, less that of a guess, over what a
guess leaves: (accuracy - baseline) / (1 - baseline); CORE is the mean over the tasks. 0 is guessing, 1 all right. How
an item is asked and scored is nanochat's `core_eval.py`: solved examples drawn by `Random(1234 + position)` from the
other items, the begin token first, the choice with the lowest mean loss of its own tokens, and for continuations that
every token is the likeliest one. Prompts that are too long lose their beginning.

Items are read from the evaluation bundle (`core.yaml`, `eval_data`, `eval_meta_data.csv`) of those who have it, with
all 22 tasks, or made from the benchmarks that `llm-core fetch-benchmarks` writes: eleven of these tasks, on the items
of the pinned package, in our rendering of the bundle's forms. The first figure is comparable with published ones, the
second only with itself.
"""

import csv
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from llm_core.errors import UserError
from llm_core.runtime import json_lines, progress

Kind = Literal["multiple_choice", "schema", "language_modeling"]
KINDS = ("multiple_choice", "schema", "language_modeling")
Item = Mapping[str, Any]
ORDER = 1337  # seed of the order in which a part of the items is taken
EXAMPLES = 1234  # seed of an item's solved examples, to which its position is added
ANSWER = "\nAnswer: "


class Task(NamedTuple):
    """One task and its items: `query`, `choices`, `gold`; `context_options`, `continuation`, `gold`; or `context`,
    `continuation`."""

    name: str
    kind: Kind
    examples: int
    """solved examples before each item"""
    delimiter: str
    """between a question and its answer"""
    baseline: float
    """accuracy of a guess"""
    items: Sequence[Item]


def centred(accuracy: float, baseline: float) -> float:
    """What an accuracy is above a guess, as a share of what a guess leaves.

    >>> centred(0.625, 0.25), centred(0.25, 0.25)
    (0.5, 0.0)
    """
    return (accuracy - baseline) / (1.0 - baseline)


def evaluate_core(
    network: Any, tokenizer: Any, tasks: Sequence[Task], most: int | None, context: int | None
) -> dict[str, Any]:
    """`core`, and for each task its accuracy, centred accuracy, baseline and number of items, at most `most`.

    `network` is a decoder in eval mode, `context` its number of positions.
    """
    scores: dict[str, dict[str, float]] = {}
    for task in tasks:
        items = list(task.items)
        random.Random(ORDER).shuffle(items)
        items = items[:most] if most else items
        if task.examples >= len(items):
            raise UserError(
                f"{task.name}: {len(items)} items have no {task.examples} solved examples beside each; take more items"
            )
        right = 0
        with progress.task(f"core: {task.name}", total=len(items), unit="items") as work:
            for position in range(len(items)):
                right += is_right(network, tokenizer, task, items, position, context)
                work.update(1)
        accuracy = right / len(items)
        scores[task.name] = {
            "accuracy": accuracy, "centred": centred(accuracy, task.baseline), "baseline": task.baseline,
            "items": len(items),
        }  # fmt: skip
    return {"core": sum(score["centred"] for score in scores.values()) / len(scores), "tasks": scores}


def is_right(
    network: Any, tokenizer: Any, task: Task, items: Sequence[Item], position: int, context: int | None
) -> bool:
    """Whether the network is right about the item at `position` of `items`; its examples are drawn from the others."""
    import torch

    item, shown = items[position], []
    if task.examples:
        others = [other for other in range(len(items)) if other != position]
        shown = [items[other] for other in random.Random(EXAMPLES + position).sample(others, task.examples)]
    rows = [_encode(tokenizer, prompt) for prompt in prompts(task, item, shown)]
    if task.kind == "language_modeling":
        without, rows = rows[0], rows[1:]
        if without != rows[0][: len(without)] or len(without) >= len(rows[0]):
            raise UserError(
                f"{task.name}: item {position}: its question is no whole number of tokens of question and answer"
            )
        starts = [len(without)]
    elif task.kind == "schema":
        starts = [len(row) - _shared([row[::-1] for row in rows]) for row in rows]
    else:
        starts = [_shared(rows)] * len(rows)
    if context:
        starts = [start - max(len(row) - context, 0) for start, row in zip(starts, rows, strict=True)]
        rows = [row[-context:] for row in rows]
        if min(starts) < 1:
            raise UserError(
                f"{task.name}: item {position}: its answer has more tokens than the model's {context} positions"
            )
    device = next(network.parameters()).device
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
    with torch.no_grad():
        logits = network(input_ids=ids, use_cache=False).logits.float()
    if task.kind == "language_modeling":
        (start,), wanted = starts, ids[0, starts[0] :]
        return bool((logits[0, start - 1 : -1].argmax(-1) == wanted).all())
    losses = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    means = [float(losses[row, start - 1 : len(rows[row]) - 1].mean()) for row, start in enumerate(starts)]
    return means.index(min(means)) == item["gold"]


def prompts(task: Task, item: Item, shown: Sequence[Item]) -> list[str]:
    """The texts that an item is asked with: one for each choice, or of a continuation without it and with it."""
    between = task.delimiter
    if task.kind == "multiple_choice":
        before = "".join(f"{one['query']}{between}{one['choices'][one['gold']]}\n\n" for one in shown)
        return [f"{before}{item['query']}{between}{choice}" for choice in item["choices"]]
    if task.kind == "schema":
        before = "".join(f"{one['context_options'][one['gold']]}{between}{one['continuation']}\n\n" for one in shown)
        return [f"{before}{context}{between}{item['continuation']}" for context in item["context_options"]]
    before = "".join(f"{one['context'].strip()}{between}{one['continuation']}\n\n" for one in shown)
    question = f"{before}{item['context'].strip()}{between}"
    return [question.strip(), question + item["continuation"]]


def bundle_tasks(folder: Path) -> list[Task]:
    """The tasks of an evaluation bundle. Raises UserError where `folder` is none."""
    import yaml

    try:
        listed = yaml.safe_load((folder / "core.yaml").read_text(encoding="utf-8"))["icl_tasks"]
        with open(folder / "eval_meta_data.csv", encoding="utf-8", newline="") as stream:
            baselines = {row["Eval Task"]: float(row["Random baseline"]) / 100 for row in csv.DictReader(stream)}
        found = []
        for one in listed:
            items = json_lines.load_rows(folder / "eval_data" / one["dataset_uri"])
            kind, name = one["icl_task_type"], one["label"]
            if kind not in KINDS:
                raise UserError(f"{folder}: {name} is of the kind {kind}; there are {', '.join(KINDS)}")
            delimiter = one.get("continuation_delimiter", " ")
            found.append(Task(name, kind, one["num_fewshot"][0], delimiter, baselines[name], items))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder}: no evaluation bundle with core.yaml, eval_meta_data.csv and eval_data ({error})"
        ) from None
    return found


def packaged_tasks(benchmarks: Path) -> list[Task]:
    """CORE's tasks among the items that `llm-core fetch-benchmarks` wrote. Raises UserError where there are none."""
    found = []
    for name, (benchmark, kind, examples, delimiter, baseline, form) in PACKAGED.items():
        if (file := benchmarks / f"{benchmark}.jsonl").is_file():
            items = [form(row) for row in json_lines.load_rows(file)]
            found.append(Task(name, kind, examples, delimiter, baseline, items))
    if not found:
        needed = ", ".join(sorted({one[0] for one in PACKAGED.values()}))
        raise UserError(f"{benchmarks}: holds none of {needed}; run `llm-core fetch-benchmarks --out {benchmarks}`")
    return found


def _lettered(row: Item) -> Item:
    choices = row["choices"]
    return {
        "query": f"Question: {row['question']}", "choices": choices["text"],
        "gold": choices["label"].index(row["answerKey"]),
    }  # fmt: skip


def _openbook(row: Item) -> Item:
    choices = row["choices"]
    return {"query": row["question_stem"], "choices": choices["text"], "gold": choices["label"].index(row["answerKey"])}


def _boolq(row: Item) -> Item:
    query = f"Passage: {row['passage']}\nQuestion: {row['question']}?"
    return {"query": query, "choices": ["no", "yes"], "gold": row["label"]}


def _copa(row: Item) -> Item:
    because = "because" if row["question"] == "cause" else "therefore"
    choices = [row[name][0].lower() + row[name][1:] for name in ("choice1", "choice2")]
    return {"query": f"{row['premise'].strip().rstrip('.')}, {because}", "choices": choices, "gold": row["label"]}


def _hellaswag(row: Item) -> Item:
    return {"query": f"{row['activity_label']}: {row['ctx']}", "choices": row["endings"], "gold": int(row["label"])}


def _piqa(row: Item) -> Item:
    return {"query": f"Question: {row['goal']}", "choices": [row["sol1"], row["sol2"]], "gold": row["label"]}


def _winogrande(row: Item) -> Item:
    before, _, after = row["sentence"].partition("_")
    options = [f"{before}{row[name]}" for name in ("option1", "option2")]
    return {"context_options": options, "continuation": after.strip(), "gold": int(row["answer"]) - 1}


def _lambada(row: Item) -> Item:
    context, _, last = row["text"].rpartition(" ")
    return {"context": context, "continuation": last}


PACKAGED: dict[str, tuple[str, Kind, int, str, float, Callable[[Item], Item]]] = {
    "hellaswag_zeroshot": ("hellaswag", "multiple_choice", 0, " ", 0.25, _hellaswag),
    "arc_easy": ("arc_easy", "multiple_choice", 10, ANSWER, 0.25, _lettered),
    "arc_challenge": ("arc_challenge", "multiple_choice", 10, ANSWER, 0.25, _lettered),
    "copa": ("copa", "multiple_choice", 0, " ", 0.5, _copa),
    "commonsense_qa": ("commonsense_qa", "multiple_choice", 10, ANSWER, 0.2, _lettered),
    "piqa": ("piqa", "multiple_choice", 10, ANSWER, 0.5, _piqa),
    "openbook_qa": ("openbookqa", "multiple_choice", 0, " ", 0.25, _openbook),
    "lambada_openai": ("lambada_openai", "language_modeling", 0, " ", 0.0, _lambada),
    "hellaswag": ("hellaswag", "multiple_choice", 10, " ", 0.25, _hellaswag),
    "winogrande": ("winogrande", "schema", 0, " ", 0.5, _winogrande),
    "boolq": ("boolq", "multiple_choice", 10, ANSWER, 0.62, _boolq),
}
"""CORE's name of a task -> benchmark of the catalog, kind, solved examples, delimiter, baseline (a guess among the
choices; of boolq the share of its more frequent answer), item."""


def _encode(tokenizer: Any, text: str) -> list[int]:
    begin = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return [begin, *tokenizer(text, add_special_tokens=False)["input_ids"]]


def _shared(rows: Sequence[Sequence[int]]) -> int:
    """Number of tokens that all rows begin with."""
    return next((place for place, tokens in enumerate(_columns(rows)) if len(set(tokens)) > 1), min(map(len, rows)))


def _columns(rows: Sequence[Sequence[int]]) -> Iterator[tuple[int, ...]]:
    return zip(*rows, strict=False)
