"""`llm-core params`: every knob with its meaning."""

from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic import BaseModel

from llm_core.cli.options import Overrides, ParamsFile, read_params, verb_app
from llm_core.errors import UserError
from llm_core.params.quality import Rule, rules
from llm_core.params.sources import PluginSource, plugin_kinds
from llm_core.runtime.redaction import redact
from llm_core.runtime.terminal import say_lines

app = verb_app()


@app.command()
def params(
    section: Annotated[str, typer.Argument(help="Only the knobs below this key, e.g. pretraining.")] = "",
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Print every knob of params.yaml with its meaning, type and present value.

    Knobs of quality rules, source kinds and other entries that params.yaml does not use are printed with their
    defaults, under a name in angle brackets: `sources.<common_crawl>.crawl`.
    """
    lines = [
        line
        for line in describe(read_params(params_file, overrides))
        if not section or line.startswith((f"{section}.", f"{section} ="))
    ]
    if not lines:
        raise UserError(f"no knob '{section}'; `llm-core params` without an argument lists all")
    say_lines(redact(line) for line in lines)


def describe(value: BaseModel, prefix: str = "") -> list[str]:
    """One line per knob: dotted key, value, type, meaning."""
    lines: list[str] = []
    fields = type(value).model_fields
    for name, inner in value:  # fields, and sections that plugins bring
        kinds = list(_models(fields[name].annotation)) if name in fields else []
        shown = fields[name].alias or name if name in fields else name
        if isinstance(inner, BaseModel):
            lines += describe(inner, f"{prefix}{shown}.")
        elif kinds and isinstance(inner, dict | list):
            lines += _entries(inner, kinds, f"{prefix}{shown}", _meaning(fields[name]))
        else:
            field = fields[name]
            lines.append(f"{prefix}{shown} = {inner!r}  [{_type(field.annotation)}]  {_meaning(field)}".rstrip())
    return lines


def _entries(inner: Any, kinds: list[type[BaseModel]], place: str, meaning: str) -> list[str]:
    """The knobs of a mapping or list of models: those that are there, then those of each kind that is not in use."""
    lines = [f"{place} = {len(inner)} entries  {meaning}".rstrip()]
    used: set[type[BaseModel]] = set()

    def visit(key: str, item: Any) -> None:
        if isinstance(item, BaseModel):
            used.add(type(item))
            lines.extend(describe(item, f"{key}."))
        elif isinstance(item, list):
            for number, part in enumerate(item):
                visit(f"{key}[{number}]", part)

    for key, item in inner.items() if isinstance(inner, dict) else enumerate(inner):
        visit(f"{place}.{key}" if isinstance(inner, dict) else f"{place}[{key}]", item)
    for kind in kinds:
        if kind not in used:
            lines += _defaults(kind, f"{place}.<{_label(kind)}>.")
    return lines


def _defaults(kind: type[BaseModel], prefix: str) -> list[str]:
    """The knobs of a model that no entry uses, with their defaults."""
    lines = []
    for name, field in kind.model_fields.items():
        value = "required" if field.is_required() else repr(field.get_default(call_default_factory=True))
        lines.append(
            f"{prefix}{field.alias or name} = {value}  [{_type(field.annotation)}]  {_meaning(field)}".rstrip()
        )
    return lines


def _label(kind: type[BaseModel]) -> str:
    """The value that chooses this model in a list of kinds (`rule: c4`), else its name."""
    for name in ("kind", "rule"):
        choices = get_args(kind.model_fields[name].annotation) if name in kind.model_fields else ()
        if len(choices) == 1:
            return str(choices[0])
        if name in kind.model_fields and isinstance(kind.model_fields[name].default, str):
            return str(kind.model_fields[name].default)
    return kind.__name__.lower()


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models inside an annotation such as `dict[str, A | B]`, in its order."""
    if isinstance(annotation, type) and not get_args(annotation):
        if annotation is Rule:
            yield from rules().values()  # a rule is found by its name, those of plugins too
        elif annotation is PluginSource:
            yield from (kind.params for kind in plugin_kinds().values())
        elif issubclass(annotation, BaseModel):
            yield annotation
        return
    for part in get_args(annotation):
        yield from _models(part)


def _meaning(field: Any) -> str:
    return " ".join((field.description or "").split())


def _type(annotation: Any) -> str:
    choices = get_args(annotation)
    if get_origin(annotation) is Annotated:
        return _type(choices[0])
    if get_origin(annotation) is list:
        return f"list[{_type(choices[0])}]"
    if choices and all(isinstance(choice, str) for choice in choices):
        return " | ".join(choices)
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join("null" if choice is type(None) else _type(choice) for choice in choices)
    return (
        annotation.__name__ if isinstance(annotation, type) and not choices else str(annotation).replace("typing.", "")
    )
