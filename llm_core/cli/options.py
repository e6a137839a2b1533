"""Options that many verbs share, declared once."""

from pathlib import Path
from typing import Annotated, Any

import typer

from llm_core.errors import UserError
from llm_core.params import Params, load, validate
from llm_core.runtime.object_storage import use
from llm_core.runtime.terminal import say

DEFAULT = Path("params.yaml")
MEANINGS = {
    "--benchmarks": "Folder of benchmark items.",
    "--data": "Folder that holds the outputs of the stages.",
    "--id": "Id of a document.",
    "--in": "Data to read:",
    "--index": "Folder that `llm-core index` wrote.",
    "--json": "Print JSON.",
    "--judge": "Folder of a model that judges answers.",
    "--limit": "Maximum number of items to show or to ask.",
    "--max-new-tokens": "Maximum number of tokens to generate.",
    "--model": "Folder of a model in the Hugging Face layout.",
    "--name": "Name of a registered model, which is the name of the model's folder.",
    "--out": "Folder to write.",
    "--out-file": "File to write.",
    "--params": "Params file, or a preset, which is merged over params.yaml.",
    "--questions": "File of questions with known answers.",
    "--recipe": "Name of a recipe of quality rules.",
    "--rows": "Folder that `llm-core finetune-data` wrote.",
    "--set": "KEY=VALUE overrides one knob, e.g. --set pretraining.steps=100. Repeatable.",
    "--takedowns": "File of tombstones: the documents that must leave.",
    "--temperature": "Temperature of sampling; 0 takes the likeliest token.",
    "--text": "A text.",
    "--tokenizer": "Folder that `llm-core train-tokenizer` wrote.",
    "--tokens": "Folder that `llm-core tokenize` wrote.",
    "--url": "Address that a document was fetched from.",
    "question": "A question in plain words.",
    "name": "Name in params.yaml:",
    "targets": "Stages or dvc.yaml files, as for `dvc repro`; none: the default graph.",
}
"""The meaning of each option or argument that more than one verb takes; a test walks all verbs and holds them to it."""


def option(name: str, note: str = "", **settings: Any) -> Any:
    """The option `name` with its meaning from MEANINGS; `note` adds what is particular to one verb."""
    return typer.Option(name, help=f"{MEANINGS[name]} {note}".strip(), **settings)


ParamsFile = Annotated[Path, option("--params", show_default=True)]
Overrides = Annotated[list[str] | None, option("--set")]
In = Annotated[
    list[str],
    option(
        "--in",
        "files or folders of documents (Parquet, JSONL, JSONL.gz, JSONL.zst). Repeatable. "
        "A path with {source} means one path for each source in the params.",
    ),
]
Out = Annotated[Path, option("--out", "It is replaced whole when the stage succeeds.")]
Takedowns = Annotated[Path | None, option("--takedowns", "The default is takedowns.jsonl, if there is one.")]
Data = Annotated[Path, option("--data")]
Index = Annotated[Path, option("--index")]


def read_params(file: Path, overrides: list[str] | None) -> Params:
    """The validated params of a verb's `--params` and `--set`; outputs then go where their `launch.storage` says.

    Where no other file is named and the folder has no params.yaml, the defaults hold, and a line on stderr says so.
    """
    if file == DEFAULT and not file.exists():
        say(f"llm-core: no {file} here, so the defaults hold (`llm-core params` prints them)", error=True)
        params = validate({}, "--set", overrides)
    else:
        params = load(file, overrides)
    use(params.launch.storage)
    return params


def repeated(file: Path, overrides: list[str] | None) -> list[str]:
    """`--params` and `--set` as arguments, for a process that does the same work."""
    chosen = ["--params", str(file)] if file.exists() else []
    return chosen + [part for assignment in overrides or [] for part in ("--set", assignment)]


def expand_sources(paths: list[str], params: Params) -> list[str]:
    """Replace each path with `{source}` in it by one path for every source in the params."""
    expanded: list[str] = []
    for path in paths:
        if "{source}" in path:
            if not params.sources:
                raise UserError(f"--in {path}: params.yaml names no sources")
            expanded.extend(path.replace("{source}", source) for source in params.sources)
        else:
            expanded.append(path)
    return expanded


def verb_app() -> typer.Typer:
    """A Typer app for a module that holds one verb, with plain tracebacks for faults of the program."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False)
