"""`llm-core init`: a params.yaml for somebody's own documents, tasks and models."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import ValidationError

from llm_core.cli.options import option, verb_app
from llm_core.errors import UserError
from llm_core.params.evaluation import Benchmarks, Kind, OwnBenchmark
from llm_core.params.finetuning import Data
from llm_core.params.starting import Finetune, starting_params
from llm_core.runtime.terminal import printable, say

app = verb_app()


@app.command()
def init(
    documents: Annotated[
        list[str] | None, typer.Option("--documents", help="A folder or file of documents; repeat for several.")
    ] = None,
    license: Annotated[
        str, typer.Option("--license", help="Licence of the documents, which cards and reports name.")
    ] = "",
    finetune: Annotated[
        list[str] | None,
        typer.Option("--finetune", help="NAME=METHOD:FILE, for example mood=classification:reviews.csv; repeat."),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--columns", help="NAME:text=review,label=stars: columns of a finetune's or benchmark's file."),
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option("--benchmark", help="NAME=FILE or NAME=KIND:FILE of questions, or NAME=TASK.yaml; repeat."),
    ] = None,
    judge: Annotated[Path | None, option("--judge", "For benchmarks of the kind judge.")] = None,
    model: Annotated[Path | None, option("--model", "Training continues from it, with its own tokenizer.")] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="Sizes and machines of a preset; `llm-core preset` lists them.")
    ] = None,
    out_file: Annotated[Path, option("--out-file")] = Path("params.yaml"),
) -> None:
    """Write a params.yaml that runs the whole graph on your documents, and say the next command.

    What is not given is asked for where a terminal is there. For each folder of documents the files are counted by
    their kind, and those that will not be read by the reason. A params.yaml that is there already is kept beside it,
    as params.yaml.before.
    """
    from llm_core.params import presets, validate
    from llm_core.params.reading import parse
    from llm_core.runtime.storage import output_file

    if not documents:
        if not sys.stdin.isatty():
            raise UserError("--documents is missing: the folder (or file) of your documents")
        documents = [typer.prompt("Folder or file of your documents")]
    if twice := sorted({path for path in documents if documents.count(path) > 1}):
        raise UserError(f"--documents {twice[0]}: is given twice, so that each document would come twice; give it once")
    if not license:
        license = typer.prompt("Their licence", "private") if sys.stdin.isatty() else "private"
    mapped = _columns(columns or [])
    asked = _finetunes(finetune or [], mapped)
    benchmarks = _benchmarks(benchmark or [], mapped, judge)
    if strange := sorted(mapped.keys() - {one.name for one in asked} - benchmarks.keys()):
        raise UserError(f"--columns {strange[0]}: no --finetune and no --benchmark has this name")
    text = starting_params(
        documents, license, asked, str(model) if model else None, presets.find(preset) if preset else None, benchmarks
    )
    validate(parse(text, str(out_file)), out_file)
    found = [_found(path) for path in documents]
    if out_file.exists():
        kept = out_file.with_name(f"{out_file.name}.before")
        if kept.exists():
            raise UserError(f"{out_file} and {kept} are both there; move one of them away first, or set --out-file")
        out_file.rename(kept)
        say(f"{out_file} is now {kept}")
    with output_file(out_file) as stream:
        stream.write(text)
    for line in found:
        say(line)
    say(f"{out_file}: {len(documents)} source(s), {len(asked)} finetune(s), {len(benchmarks)} own benchmark(s).")
    say("Next: dvc repro        (every stage that is not up to date; `llm-core plan` says which)")


def _found(path: str) -> str:
    """One line on what of the documents at `path` will be read, and what not and why."""
    from llm_core.corpus.sources.files import inventory

    read, not_read = inventory(str(Path(path).expanduser()))
    counted = ", ".join(
        f"{count} {ending}" for ending, count in sorted(read.items(), key=lambda pair: (-pair[1], pair[0]))
    )
    why = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in sorted(not_read.items()))
    return printable(f"{path}: {counted}; not read: {why or 'nothing'}", lines=False)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UserError(f"--columns {text}: write NEEDED=YOURS, for example label=stars")
    return name, value


def _columns(texts: list[str]) -> dict[str, dict[str, str]]:
    mapped: dict[str, dict[str, str]] = {}
    for text in texts:
        name, colon, pairs = text.partition(":")
        if not colon:
            raise UserError(f"--columns {text}: write NAME:text=review,label=stars")
        mapped[name] = dict(_pair(pair) for pair in pairs.split(","))
    return mapped


def _columns_hint(error: UserError, name: str) -> str:
    return f" (--columns {name}:NEEDED=YOURS,…)" if "column" in str(error) else ""


def _finetunes(texts: list[str], columns: dict[str, dict[str, str]]) -> list[Finetune]:
    """The finetunes, each checked against the first row of its file."""
    from llm_core.training.finetuning.data.dataset import check_source

    found = [Finetune.parse(text) for text in texts]
    found = [replace(one, columns=columns.get(one.name, {})) for one in found]
    for one in found:
        try:
            check_source(one.method, Data(path=one.path, columns=dict(one.columns)))
        except UserError as error:
            raise UserError(f"--finetune {one.name}: {error}{_columns_hint(error, one.name)}") from None
    return found


def _benchmarks(
    texts: list[str], columns: dict[str, dict[str, str]], judge: Path | None = None
) -> dict[str, OwnBenchmark]:
    """The own benchmarks, each checked against the first rows of its file; `judge` judges those of that kind."""
    from llm_core.evaluation.own import CHECKED_ROWS, read_questions
    from llm_core.params.task_files import read_task_file

    found: dict[str, OwnBenchmark] = {}
    for text in texts:
        name, kind, path = _benchmark(text)
        if name in found:
            raise UserError(f"--benchmark {name}: two benchmarks have this name")
        mapped: dict[str, str | list[str]] = {
            needed: yours.split("+") if needed == "choices" and "+" in yours else yours
            for needed, yours in columns.get(name, {}).items()
        }
        values: dict[str, Any] = {"path": path, "kind": kind or _kind_of(path, mapped), "columns": mapped}
        if kind == "judge":
            if judge is None or not judge.expanduser().is_dir():
                raise UserError(f"--benchmark {name}: of the kind judge needs --judge FOLDER, the model that judges")
            values["judge"] = {"model": str(judge)}
        try:
            own = OwnBenchmark.model_validate(values)
            Benchmarks(own={name: own})
        except ValidationError as error:
            told = error.errors()[0]["msg"].removeprefix("Value error, ")
            raise UserError(f"--benchmark {name}: {told}") from None
        try:
            if own.is_task_file:
                read_task_file(Path(path))
            else:
                list(read_questions(name, own, CHECKED_ROWS))
        except UserError as error:
            raise UserError(f"--benchmark {name}: {error}{_columns_hint(error, name)}") from None
        found[name] = own
    if judge and not any(own.judge for own in found.values()):
        raise UserError(f"--judge {judge}: no --benchmark NAME=judge:FILE uses it")
    return found


def _benchmark(text: str) -> tuple[str, str, str]:
    """(name, kind or "", path) of NAME=FILE or NAME=KIND:FILE."""
    name, equals, rest = text.partition("=")
    kind, colon, path = rest.partition(":")
    if not (colon and kind in get_args(Kind)):
        kind, path = "", rest
    if not (equals and name and path):
        raise UserError(f"--benchmark {text}: write NAME=FILE, for example quiz=questions.jsonl")
    if not Path(path).expanduser().is_file():
        raise UserError(f"--benchmark {name}: {path} is no file")
    return name, kind, path


def _kind_of(path: str, columns: Mapping[str, str | list[str]]) -> str | None:
    """What a file of questions holds: choices, or answers as text. None for a task file, which says it itself."""
    from llm_core.formats.row_files import read_file

    if OwnBenchmark.model_construct(path=path).is_task_file:
        return None
    first = next((row for _, row in read_file(Path(path).expanduser())), {})
    return "multiple_choice" if "choices" in columns or "choices" in first else "exact_match"
