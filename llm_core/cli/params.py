"""`llm-core params`: every knob with its meaning."""

from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic import BaseModel

from llm_core.cli.options import Overrides, ParamsFile, read_params, verb_app

app = verb_app()


@app.command()
def params(
    section: Annotated[str, typer.Argument(help="Only this section, e.g. pretraining.")] = "",
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Print every knob of params.yaml with its meaning, type and present value."""
    for line in describe(read_params(params_file, overrides)):
        if not section or line.lstrip().startswith(section):
            typer.echo(line)


def describe(value: BaseModel, prefix: str = "") -> list[str]:
    """One line a knob: dotted key, value, type, meaning."""
    lines: list[str] = []
    fields = type(value).model_fields
    for name, inner in value:  # fields, and sections that plugins bring
        if isinstance(inner, BaseModel):
            lines += describe(inner, f"{prefix}{name}.")
        elif isinstance(inner, dict) and any(isinstance(item, BaseModel) for item in inner.values()):
            for key, item in inner.items():
                lines += describe(item, f"{prefix}{name}.{key}.")
        else:
            meaning = " ".join((fields[name].description or "").split())
            lines.append(f"{prefix}{name} = {inner!r}  [{_type(fields[name].annotation)}]  {meaning}".rstrip())
    return lines


def _type(annotation: Any) -> str:
    choices = get_args(annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        return " | ".join(choices)
    return (
        annotation.__name__ if isinstance(annotation, type) and not choices else str(annotation).replace("typing.", "")
    )
