"""Reading params.yaml: the same YAML that DVC reads, with `--set` overrides, and an error in one line for each mistake.

The reader is ruamel.yaml, as in DVC: YAML 1.2 (`no` is a word, `1e-5` is a number), and a key that is there twice is an
error. DVC and the verbs therefore never disagree about a file.
"""

import io
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from llm_core.errors import UserError
from llm_core.params.launch import refuse_moved

LARGEST = 16 << 20  # bytes; a params file is a few kilobytes, and anything larger is another file given by mistake

DEEPEST = 100  # levels; params have about six
MOST_VALUES = 1_000_000  # params have a thousand


def read_yaml(path: str | Path) -> Any:
    """The content of a YAML file. Raises UserError: not there, not readable, not UTF-8, not YAML, a key twice."""
    path = Path(path)
    try:
        if path.is_dir():
            raise UserError(f"{path}: is a folder; a params file is needed")
        if path.stat().st_size > LARGEST:
            raise UserError(f"{path}: larger than {LARGEST >> 20} MiB, which no params file is")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{path}: no such params file (give --params FILE)") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    return parse(text, str(path))


def keeping_comments(width: int = 120) -> YAML:
    """Loads YAML so that `to_text` writes it with its comments and quotes; lines are broken at `width`."""
    yaml = YAML(typ="rt")
    yaml.width, yaml.preserve_quotes = width, True
    return yaml


def to_text(yaml: YAML, values: Any) -> str:
    """`values`, loaded by `yaml`, as text."""
    text = io.StringIO()
    yaml.dump(values, text)
    return text.getvalue()


def parse(text: str, name: str) -> Any:
    """The value of a YAML text; `name` is what errors call it. Raises UserError where it is no YAML."""
    try:
        check_size(text, name)
        return YAML(typ="safe").load(text)
    except YAMLError as error:
        words = str(error).partition("To suppress this check")[0].split()
        raise UserError(f"{name}: not valid YAML ({' '.join(words)})") from None
    except (ValueError, TypeError) as error:  # an impossible date, a mapping as a key
        raise UserError(f"{name}: not valid YAML ({' '.join(str(error).split())})") from None


def check_size(text: str | bytes, name: str) -> None:
    """Raise UserError where a value is nested too deeply, or where its aliases (`*name`) make it too large.

    The parser in C builds the value by recursion without a bound. An alias costs it nothing, but everything that walks
    the value takes the time of the whole: ten lists of ten aliases to each other are ten thousand million values.
    """
    sizes: dict[str, int] = {}  # of what has an anchor
    open_: list[tuple[str | None, int]] = []  # anchor, and number of values before it
    count = 0
    for event in YAML(typ="safe").parse(text):
        if isinstance(event, CollectionStartEvent):
            open_.append((event.anchor, count))
            if len(open_) > DEEPEST:
                raise UserError(f"{name}: not valid YAML (nested too deeply: more than {DEEPEST} levels)")
        elif isinstance(event, CollectionEndEvent):
            anchor, before = open_.pop()
            count += 1
            if anchor:
                sizes[anchor] = count - before
        elif isinstance(event, AliasEvent):
            if any(anchor == event.anchor for anchor, _ in open_):
                raise UserError(f"{name}: not valid YAML (the alias *{event.anchor} is within what it names)")
            count += sizes.get(event.anchor, 1)
        elif isinstance(event, ScalarEvent):
            count += 1
        if count > MOST_VALUES:
            raise UserError(f"{name}: not valid YAML (more than {MOST_VALUES:,} values, its aliases written out)")


def read_values(path: str | Path) -> dict[str, Any]:
    """The sections of a params file as they are written. Raises UserError where it is no mapping."""
    values = read_yaml(path)
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: a mapping of sections is needed, not {type(values).__name__}")
    return values


def override(values: dict[str, Any], assignment: str) -> None:
    """Apply `KEY=VALUE` (a dotted key, a YAML value) to `values`."""
    key, equals, text = assignment.partition("=")
    if not equals or not key or not all(key.split(".")):
        raise UserError(f"--set {assignment}: write KEY=VALUE, for example --set pretraining.steps=100")
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if inner is None:
            inner = values[parent] = {}
        if not isinstance(inner, dict):
            raise UserError(f"--set {assignment}: '{parent}' is a value, not a section")
        values = inner
    values[last] = parse(text, f"--set {assignment}")


def check_moved(values: dict[str, Any], path: str | Path) -> None:
    """Raise UserError, with the file's name, for a key at a place that earlier versions had it."""
    try:
        refuse_moved(values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def explain(error: ValidationError, root: Any) -> str:
    """Pydantic's findings as one line: the key, what is wrong, and what the section accepts."""
    findings = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "params"
        if item["type"] == "extra_forbidden":
            accepted = _accepted(root, item["loc"][:-1])
            findings.append(f"unknown key '{key}'" + (f" (accepted here: {', '.join(accepted)})" if accepted else ""))
        else:
            given = repr(item["input"])
            given = given if len(given) <= 200 else f"{given[:200]}…"
            findings.append(f"'{key}': {item['msg'].lower()}, got {given}")
    shown = findings[:5] + ([f"and {len(findings) - 5} more"] if len(findings) > 5 else [])
    return " ".join("; ".join(shown).split())


def _accepted(model: Any, location: tuple[int | str, ...]) -> list[str]:
    """Names of the keys that the section at `location` accepts, [] where that is not one model."""
    for part in location:
        field = model.model_fields.get(part) if hasattr(model, "model_fields") else None
        if field is None:
            return []
        model = field.annotation
    fields = getattr(model, "model_fields", {})
    return sorted(field.alias or name for name, field in fields.items())
