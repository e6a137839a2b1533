"""Options that many verbs share, declared once."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.errors import UserError
from llm_core.params import Params, load, validate
from llm_core.runtime.terminal import say

DEFAULT = Path("params.yaml")
ParamsFile = Annotated[
    Path,
    typer.Option("--params", help="Params file, or a preset, which is merged over params.yaml.", show_default=True),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="KEY=VALUE overrides one knob, e.g. --set pretraining.steps=100. Repeatable."),
]
In = Annotated[
    list[str],
    typer.Option(
        "--in",
        help="Files or folders of documents (Parquet, JSONL, JSONL.gz, JSONL.zst). Repeatable. "
        "A path with {source} means one path for each source in the params.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder to write; replaced whole when the stage succeeds.")]


Takedowns = Annotated[
    Path | None,
    typer.Option(
        "--takedowns", help="Tombstones of documents that must leave. By default takedowns.jsonl, where there is one."
    ),
]


def read_params(file: Path, overrides: list[str] | None) -> Params:
    """The validated params of a verb's `--params` and `--set`.

    Where no other file is named and the folder has no params.yaml, the defaults hold, and a line on stderr says so.
    """
    if file == DEFAULT and not file.exists():
        say(f"llm-core: no {file} here, so the defaults hold (`llm-core params` prints them)", error=True)
        return validate({}, "--set", overrides)
    return load(file, overrides)


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
