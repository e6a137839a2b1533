"""`llm-core init`: a params.yaml for somebody's own documents, tasks and models."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import option, verb_app
from llm_core.errors import UserError
from llm_core.params.finetuning import Data
from llm_core.params.starting import Finetune, starting_params
from llm_core.runtime.terminal import say

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
        typer.Option("--columns", help="NAME:text=review,label=stars: columns of a finetune's file that differ."),
    ] = None,
    model: Annotated[Path | None, option("--model", "Training continues from it, with its own tokenizer.")] = None,
    preset: Annotated[
        str | None, typer.Option("--preset", help="Sizes and machines of a preset; `llm-core preset` lists them.")
    ] = None,
    out_file: Annotated[Path, option("--out-file")] = Path("params.yaml"),
) -> None:
    """Write a params.yaml that runs the whole graph on your documents, and say the next command.

    What is not given is asked for where a terminal is there. A params.yaml that is there already is kept beside it,
    as params.yaml.before.
    """
    from llm_core.params import presets, validate
    from llm_core.params.reading import parse
    from llm_core.runtime.storage import output_file

    if not documents:
        if not sys.stdin.isatty():
            raise UserError("--documents is missing: the folder (or file) of your documents")
        documents = [typer.prompt("Folder or file of your documents")]
    if not license:
        license = typer.prompt("Their licence", "private") if sys.stdin.isatty() else "private"
    asked = _finetunes(finetune or [], columns or [])
    text = starting_params(
        documents, license, asked, str(model) if model else None, presets.find(preset) if preset else None
    )
    validate(parse(text, str(out_file)), out_file)
    if out_file.exists():
        kept = out_file.with_name(f"{out_file.name}.before")
        if kept.exists():
            raise UserError(f"{out_file} and {kept} are both there; move one of them away first")
        out_file.rename(kept)
        say(f"{out_file} is now {kept}")
    with output_file(out_file) as stream:
        stream.write(text)
    say(f"{out_file}: {len(documents)} source(s), {len(asked)} finetune(s).")
    say("Next: dvc repro        (every stage that is not up to date; `llm-core plan` says which)")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UserError(f"--columns {text}: write NEEDED=YOURS, for example label=stars")
    return name, value


def _finetunes(texts: list[str], columns: list[str]) -> list[Finetune]:
    """The finetunes, each checked against the first row of its file."""
    from llm_core.training.finetuning.data.dataset import check_source

    mapped: dict[str, dict[str, str]] = {}
    for text in columns:
        name, colon, pairs = text.partition(":")
        if not colon:
            raise UserError(f"--columns {text}: write NAME:text=review,label=stars")
        mapped[name] = dict(_pair(pair) for pair in pairs.split(","))
    found = [Finetune.parse(text) for text in texts]
    if strange := sorted(mapped.keys() - {one.name for one in found}):
        raise UserError(f"--columns {strange[0]}: no --finetune has this name")
    found = [replace(one, columns=mapped.get(one.name, {})) for one in found]
    for one in found:
        try:
            check_source(one.method, Data(path=one.path, columns=dict(one.columns)))
        except UserError as error:
            raise UserError(f"--finetune {one.name}: {error} (--columns {one.name}:NEEDED=YOURS,…)") from None
    return found
