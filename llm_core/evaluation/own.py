"""Benchmarks of the user's own: files of questions that params name, and task files of lm-eval-harness.

A file of questions becomes items that all look alike (`id`, `question`, `choices` and the position of the right one, or
`answers`) and a definition of lm-eval-harness as plain data. Both lie in the folder of `fetch-benchmarks`: what scores
such a benchmark reads that folder and no param. A task file keeps its own definition; its items are read here, so that
they are decontaminated against and hashed like all others.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from llm_core.errors import UserError
from llm_core.evaluation.catalog import Benchmark, catalog
from llm_core.evaluation.definitions import Definition, definitions, is_task, task_definition
from llm_core.evaluation.hub import Item, identified
from llm_core.formats.choices import READINGS, choice_text, choice_texts, common_reading, readings
from llm_core.formats.row_files import read_file
from llm_core.params.evaluation import Judge, OwnBenchmark
from llm_core.params.open_models import OpenModel, opened
from llm_core.params.task_files import data_files, is_file, read_task_file
from llm_core.runtime.digests import file_digest, short_hash
from llm_core.runtime.storage import read_json

CHECKED_ROWS = 100  # rows of a file that `llm-core init` looks at
SCORING = "llm_core.evaluation.own_scoring"
METRICS = {
    "multiple_choice": ("acc", "acc_norm"),
    "exact_match": ("exact_match", "f1"),
    "f1": ("f1", "exact_match"),
    "regex": ("exact_match",),
    "judge": ("exact_match", "f1"),
}
"""Metrics of each kind that lm-eval-harness computes; the first one is shown first and compared, behind a judge's."""


class OwnItems(NamedTuple):
    """What a user's file holds, and how it is scored."""

    items: list[Item]
    fewshot: list[Item]
    """solved examples of a task file that has them in a split of their own"""
    definition: dict[str, Any]
    """how lm-eval-harness scores the items; for a task file `{include: FILE}`"""


def own_items(name: str, own: OwnBenchmark) -> OwnItems:
    """The items of the benchmark `name`. Raises UserError: the name is lm-eval's, a row is wrong (with its line)."""
    found = (
        _of_task_file(name, own)
        if own.is_task_file
        else OwnItems(list(read_questions(name, own)), [], definition_of(own))
    )
    if name in catalog() or is_task(name):
        raise UserError(f"evaluation.benchmarks.own.{name}: lm-eval-harness has a task '{name}'; take another name")
    return found


def own_benchmarks(folder: Path) -> dict[str, Benchmark | Definition]:
    """name -> how it is scored, of each own benchmark in a folder of `fetch-benchmarks`."""
    file = folder / "manifest.json"
    found: dict[str, Benchmark | Definition] = {}
    for name, entry in (read_json(file) if file.is_file() else {}).items():
        definition = entry.get("definition")
        if definition and "include" in definition:
            found[name] = _task_file_definition(name, Path(definition["include"]))
        elif definition:
            metric = definition["metric_list"][0]["metric"]
            found[name] = Benchmark("", definition, "test", metric, None, entry["license"], "id")
    return found


def scored_by(name: str, own: Mapping[str, Benchmark | Definition]) -> Benchmark | dict[str, Definition]:
    """How lm-eval-harness scores the benchmark `name`: one task with its items, or its own tasks by name."""
    entry = own.get(name) or catalog().get(name)
    if entry is None:
        return definitions(name)
    return entry if isinstance(entry, Benchmark) else {name: entry}


def definition_of(own: OwnBenchmark) -> dict[str, Any]:
    """The definition, in lm-eval-harness's terms, of a file of questions."""
    assert own.kind
    metrics = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in METRICS[own.kind]]
    common = {"doc_to_text": own.prompt, "metric_list": metrics}
    if own.kind == "multiple_choice":
        return {"output_type": "multiple_choice", "doc_to_choice": "choices", "doc_to_target": "answer", **common}
    found = [{"function": "regex", "regex_pattern": own.pattern}] if own.pattern is not None else []
    return {
        "output_type": "generate_until",
        "doc_to_target": "answers",
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": own.max_new_tokens, "do_sample": False},
        "filter_list": [{"name": "none", "filter": [*found, {"function": "take_first"}]}],
        "process_results": f"{SCORING}.{'exact_match' if own.kind == 'judge' else own.kind}",
        **common,
    }


def read_questions(name: str, own: OwnBenchmark, limit: int | None = None) -> Iterator[Item]:
    """The rows of a file of questions as items; the first `limit` ones.

    Raises UserError, with file and line: a column that is not there, an empty question, an answer that is none of the
    choices, an id that is there twice.
    """
    path = Path(own.path).expanduser()
    if not path.is_file():
        raise UserError(f"evaluation.benchmarks.own.{name}: {own.path} is no file")
    rows: list[tuple[str, Item]] = []
    others = _placeholders(name, own)
    for place, row in read_file(path):
        if "__error__" in row:
            raise UserError(f"{place}: {row['__error__']}")
        rows.append((place, _item(name, own, place, row, len(rows), others)))
        if limit and len(rows) == limit:
            break
    if not rows:
        raise UserError(f"evaluation.benchmarks.own.{name}: {own.path} holds no rows")
    seen: dict[str, str] = {}
    for place, item in rows:
        if (first := seen.setdefault(item["id"], place)) != place:
            raise UserError(f"{place}: the id {item['id']!r} is that of {first} already")
    if own.kind == "multiple_choice":
        _resolve(rows)
    yield from (item for _, item in rows)


def _item(name: str, own: OwnBenchmark, place: str, row: Item, number: int, others: list[str]) -> Item:
    """One row as an item; `answer` of a choice is still as it is written."""

    def value(wanted: str) -> Any:
        column = own.columns.get(wanted, wanted)
        missing = [one for one in ([column] if isinstance(column, str) else column) if one not in row]
        if missing:
            raise UserError(
                f"{place}: no column '{missing[0]}' (there are {', '.join(map(str, row))}); say which one is the "
                f"{wanted} by evaluation.benchmarks.own.{name}.columns {{{wanted}: YOURS}}"
            )
        return row[column] if isinstance(column, str) else [row[one] for one in column]

    named = "id" in own.columns or "id" in row
    item: Item = {"id": str(value("id")) if named else str(number), "question": _text(value("question"), place)}
    item |= {other: _text(row.get(other), place, other) for other in others}
    if own.kind == "multiple_choice":
        item["choices"] = _choices(value("choices"), place)
        item["answer"] = value("answer")
    else:
        answers = value("answer")
        item["answers"] = [_text(one, place, "answer") for one in (answers if isinstance(answers, list) else [answers])]
        if not item["answers"]:
            raise UserError(f"{place}: no answer")
    _check_prompt(own, item, place)
    return item


def _text(value: Any, place: str, what: str = "question") -> str:
    try:
        return choice_text(value, what)
    except ValueError as error:
        raise UserError(f"{place}: {error}") from None


def _choices(value: Any, place: str) -> list[str]:
    """The choices of a row: a list, a list written as JSON (in a table), or several columns (an empty cell is none)."""
    try:
        return choice_texts(value)
    except ValueError as error:
        several = "; of several columns write columns {choices: [FIRST, SECOND, …]}" if "no list" in str(error) else ""
        raise UserError(f"{place}: {error}{several}") from None


def _resolve(rows: list[tuple[str, Item]]) -> None:
    """Replace each `answer` by the position of the right choice. One reading holds for the whole file."""
    found = [readings(item["answer"], item["choices"]) for _, item in rows]
    common = common_reading(found)
    for (place, item), positions in zip(rows, found, strict=True):
        if common not in positions:
            raise UserError(
                f"{place}: the answer {item['answer']!r} is not among its {len(item['choices'])} choices (it must be "
                f"{', '.join(READINGS)}, the same in all rows; most rows have {common})"
            )
        item["answer"] = positions[common]


def _placeholders(name: str, own: OwnBenchmark) -> list[str]:
    """The columns that the prompt names, but for the question."""
    import jinja2
    from jinja2.meta import find_undeclared_variables

    try:
        names = find_undeclared_variables(jinja2.Environment().parse(own.prompt))
    except jinja2.TemplateError as error:
        raise UserError(f"evaluation.benchmarks.own.{name}.prompt: {error}") from None
    if "question" not in names:
        raise UserError(f"evaluation.benchmarks.own.{name}.prompt: holds no {{{{question}}}}")
    if hidden := names & {"answer", "answers", "id"}:
        raise UserError(f"evaluation.benchmarks.own.{name}.prompt: {hidden.pop()} is no part of a question")
    return sorted(names - {"question", "choices"})


def _check_prompt(own: OwnBenchmark, item: Item, place: str) -> None:
    """lm-eval takes a prompt of digits alone for the number of a choice."""
    import jinja2

    try:
        text = jinja2.Environment(undefined=jinja2.StrictUndefined).from_string(own.prompt).render(**item)
    except jinja2.TemplateError as error:
        raise UserError(f"{place}: the prompt cannot be filled ({error})") from None
    if text.strip().isdigit():
        raise UserError(f"{place}: the prompt is the number {text.strip()} alone; add words to `prompt`")


def check_judge_prompt(name: str, own: OwnBenchmark, item: Item) -> None:
    """Raise UserError where the judge's prompt cannot be filled from an item, or has no place for the answer."""
    import jinja2
    from jinja2.meta import find_undeclared_variables

    assert own.judge
    place = f"evaluation.benchmarks.own.{name}.judge.prompt"
    try:
        used = find_undeclared_variables(jinja2.Environment().parse(own.judge.prompt))
    except jinja2.TemplateError as error:
        raise UserError(f"{place}: {error}") from None
    if "answer" not in used:
        raise UserError(f"{place}: holds no {{{{answer}}}}, the answer to be judged")
    if unknown := sorted(used - item.keys() - {"answer", "reference"}):
        raise UserError(
            f"{place}: there is no '{unknown[0]}' (there are question, answer, reference, and the columns that the "
            "benchmark's own prompt names)"
        )


def judge_record(name: str, judge: Judge, models: Mapping[str, OpenModel]) -> dict[str, Any]:
    """The manifest's entry of the judge of the benchmark `name`: its params, `place`, `weights`, `license`.

    Raises UserError where it cannot judge.
    """
    from llm_core.models import loading
    from llm_core.models.open_models import check_folder, license_of, source_of

    where = f"evaluation.benchmarks.own.{name}.judge.model"
    known = opened(models, judge.model)
    if known is None and not Path(judge.model).expanduser().is_dir():
        named = f"the open models are {', '.join(models)}" if models else "open_models has none"
        raise UserError(f"{where}: {judge.model} is no folder and no name in open_models ({named})")
    place, commit = source_of(known, models[known]) if known else (Path(judge.model).expanduser(), None)
    try:
        check_folder(place, judge.model)
        config = loading.read_config(place)
        loading.check_purpose(judge.model, config, "language")
        template = loading.load_tokenizer(place).chat_template
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    if judge.chat and not template:
        raise UserError(f"evaluation.benchmarks.own.{name}.judge.chat: {judge.model} has no chat template")
    record = judge.model_dump() | {"place": str(place), "weights": weights_digest(place), "license": license_of(place)}
    return record | ({"revision": commit} if commit else {})


def weights_digest(folder: Path) -> str:
    """Hash of the weights' files alone: a copy with another card or tokenizer is the same model."""
    files = sorted(folder.glob("*.safetensors"))
    return short_hash(*(part for file in files for part in (file.name, file_digest(file, "sha256"))))


def _of_task_file(name: str, own: OwnBenchmark) -> OwnItems:
    file = Path(own.path)
    task = read_task_file(file)
    if task.functions and not own.code:
        named = ", ".join(sorted(set(task.functions)))
        raise UserError(
            f"evaluation.benchmarks.own.{name}: {file} runs Python functions ({named}); read them, then allow it by "
            "`code: true`"
        )
    definition = task_definition(name, file, task.config)
    splits = data_files(task.config, file.expanduser().parent)
    found = []
    for split, prefix in ((definition.split, ""), (definition.fewshot, "fewshot/")):
        rows: list[Item] = []
        for path in splits.get(split or "", []):
            if not is_file(path):
                raise UserError(f"{file}: its items are in {path}, which is no file")
            here = []
            for place, row in read_file(Path(path)):
                if "__error__" in row:
                    raise UserError(f"{place}: {row['__error__']}")
                here.append(row)
            rows += _typed(here) if path.lower().endswith((".csv", ".tsv")) else here
        found.append(identified(rows, "id", prefix))
    if not found[0]:
        raise UserError(f"{file}: its data_files hold no items of the split {definition.split}")
    return OwnItems(found[0], found[1], {"include": str(own.path)})


def _typed(rows: list[Item]) -> list[Item]:
    """Rows of a table with numbers and truth values as such where a whole column has them, as `datasets` reads tables.

    A definition may take such a column for the position of the right choice.
    """
    for column in rows[0] if rows else ():
        values = [str(row[column]).strip() for row in rows]
        for pattern, convert in _TYPES:
            if all(pattern.fullmatch(value) for value in values):
                for row, value in zip(rows, values, strict=True):
                    row[column] = convert(value)
                break
    return rows


_TYPES: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r"[+-]?[0-9]+"), int),
    (re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"), float),
    (re.compile(r"[Tt]rue|[Ff]alse"), lambda value: value.lower() == "true"),
)


def _task_file_definition(name: str, file: Path) -> Definition:
    if not file.is_file():
        raise UserError(
            f"{file}: no such file; it defines the benchmark '{name}'. Run `llm-core fetch-benchmarks` again"
        )
    return task_definition(name, file, read_task_file(file).config)
