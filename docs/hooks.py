"""MkDocs hook: the reference pages, generated from the code when the site is built.

`reference/params.md` comes from the typed models of `llm_core.params` (every parameter, also of rules and source
kinds that params.yaml does not use), `reference/commands.md` from the verbs of `llm_core.cli`. Neither page exists as
a file in the repository, so neither can drift. The pages of the root (CONTRIBUTING, ...) are shown too.
"""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer.main
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from llm_core.cli import VERBS
from llm_core.params import Params, quality

ROOT = Path(__file__).parents[1]
PROJECT_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to what MkDocs found in docs/."""
    pages = {"reference/params.md": params_page(), "reference/commands.md": commands_page()}
    for name in PROJECT_PAGES:
        if (ROOT / name).is_file():
            pages[name.lower()] = project_page((ROOT / name).read_text(encoding="utf-8"))
    for path, content in pages.items():
        files.append(File.generated(config, path, content=content))
    return files


def project_page(text: str) -> str:
    """A page of the repository's root, with its links into docs/ as seen from docs/."""
    text = re.sub(r"\]\(docs/", "](", text)
    text = re.sub(r"\]\(([A-Z]+\.md)", lambda link: f"]({link[1].lower()}", text)
    return re.sub(r"\[([^\]]+)\]\((?:LICENSE|README\.md)\)", r"\1", text)


def params_page() -> str:
    """Every section of params.yaml: each parameter with type, default and meaning."""
    lines = [
        "# Parameters",
        "",
        "Every parameter of `params.yaml`. `llm-core params` prints the same with the present values;",
        "`--set KEY=VALUE` overrides one for a single command.",
        "",
        *_table(_plain(Params), ""),
    ]
    for name, field in Params.model_fields.items():
        models = list(_models(field.annotation))
        if models:
            lines += ["", f"## `{name}`", ""]
            if field.description and models[0] is not field.annotation:
                lines += [_text(field.description), ""]
            for model in models:
                lines += _section(model, name if len(models) == 1 and model is field.annotation else "", 3)
            if name == "cleaning":
                lines += ["### Quality rules", "", "A recipe is a list of these rules.", ""]
                for rule in quality.rules().values():
                    lines += _section(rule, "", 4)
    return "\n".join(lines) + "\n"


def _section(model: type[BaseModel], prefix: str, level: int) -> list[str]:
    """The table of one model, then those of the models inside it."""
    lines: list[str] = []
    if not prefix:
        lines += [f"{'#' * level} {_kind(model)}", ""]
    if model.__doc__ and "usage docs" not in model.__doc__.lower():
        lines += [_text(model.__doc__), ""]
    lines += [*_table(_plain(model), f"{prefix}." if prefix else ""), ""]
    extra = _extra(model)
    for name, field in (model.model_fields | extra).items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            path = f"{prefix}.{name}" if prefix else name
            lines += [f"{'#' * level} `{path}`", "", *_section(inner, path, min(level + 1, 6))]
        else:
            for item in _models(inner):
                lines += _section(item, "", min(level + 1, 6))
    return lines


def _extra(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Sections that a model makes of its registry (one for each finetuning method), as fields."""
    if model.model_config.get("extra") != "allow":
        return {}
    made = model().model_extra or {}
    return {name: FieldInfo(annotation=type(value)) for name, value in made.items() if isinstance(value, BaseModel)}


def _kind(model: type[BaseModel]) -> str:
    """How a reader chooses this model: `kind: package`, `rule: c4`, or the model's name."""
    for name in ("kind", "rule"):
        if name in model.model_fields:
            choices = get_args(model.model_fields[name].annotation)
            if choices:
                return f"`{name}: {choices[0]}`"
    return re.sub(r"(?<!^)(?=[A-Z])", " ", model.__name__).capitalize()


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation mentions, in order, each once."""
    seen: list[type[BaseModel]] = []

    def walk(part: Any) -> None:
        if isinstance(part, type) and issubclass(part, BaseModel):
            if part not in seen:
                seen.append(part)
            return
        for inner in get_args(part):
            walk(inner)

    walk(annotation)
    yield from seen


def _plain(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Fields that hold values; a field that is a section of its own has its own table."""
    return {
        name: field
        for name, field in model.model_fields.items()
        if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel))
    }


def _table(fields: dict[str, FieldInfo], prefix: str) -> list[str]:
    if not fields:
        return []
    rows = ["| parameter | type | default | meaning |", "|---|---|---|---|"]
    for name, field in fields.items():
        cells = [f"`{prefix}{name}`", _code(_type(field)), _default(field), _text(field.description or "")]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def _type(field: FieldInfo) -> str:
    """The type as a user of YAML reads it, with the bounds that hold for it."""
    bounds = [
        f"{sign} {getattr(rule, name)}"
        for rule in field.metadata
        for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤"))
        if hasattr(rule, name)
    ]
    return ", ".join([_type_name(field.annotation), *bounds])


def _type_name(annotation: Any) -> str:
    parts = get_args(annotation)
    if annotation is type(None):
        return "null"
    if isinstance(annotation, type) and not parts:
        return {"str": "text", "int": "integer", "float": "number", "bool": "true or false"}.get(
            annotation.__name__, annotation.__name__
        )
    origin = str(getattr(annotation, "__origin__", ""))
    if parts and all(isinstance(part, str | int) and not isinstance(part, type) for part in parts):
        return " or ".join(str(part) for part in parts)
    if "list" in origin:
        return f"list of {_type_name(parts[0])}"
    if "tuple" in origin:
        return "(" + ", ".join(_type_name(part) for part in parts) + ")"
    if "dict" in origin:
        return f"mapping of {_type_name(parts[0])} to {_type_name(parts[1])}"
    if hasattr(annotation, "__metadata__"):
        return _type_name(parts[0])
    return " or ".join(_type_name(part) for part in parts) if parts else str(annotation)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, bool):
        return _code({None: "null", True: "true", False: "false"}[value])
    return _code(str(value))


def commands_page() -> str:
    """Every verb of `llm-core`: what it does, its arguments and options."""
    lines = ["# Commands", "", "`llm-core VERB`; each verb is also described by `llm-core VERB --help`.", ""]
    for verb, (module, summary, *_) in VERBS.items():
        command = typer.main.get_command(importlib.import_module(f"llm_core.cli.{module}").app)
        lines += [f"## `{verb}`", "", _text(command.help or summary), ""]
        rows = []
        for param in command.params:
            named = param.param_type_name == "option"
            name = ", ".join(param.opts) if named else (param.metavar or (param.name or "").upper())
            default = "required" if param.required else _shown(param.default)
            rows.append((f"`{name}`", default, _text(getattr(param, "help", "") or "")))
        if rows:
            lines += ["| argument or option | default | meaning |", "|---|---|---|"]
            lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
            lines.append("")
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    return "" if value is None or value == () or callable(value) else _code(str(getattr(value, "value", value)))


def _code(text: str) -> str:
    if not text:
        return "(empty)"
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _text(text: str) -> str:
    """A docstring as one line of Markdown; `<|begin|>` and the like are no HTML."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else part.replace("<", "&lt;") for part in parts)
