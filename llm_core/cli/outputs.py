"""The check that every verb makes of its paths before it starts: hours of work must not end in a refusal."""

import errno
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from llm_core.errors import UserError
from llm_core.runtime.inputs import irregular
from llm_core.runtime.outputs import check_local, check_output, check_output_file, check_place
from llm_core.runtime.storage import is_remote

ADDED_TO = frozenset({"ablate", "scaling"})
"""verbs that keep the finished runs in `--out` and replace single folders below it"""

READ_WHOLE = frozenset({"inputs", "good", "random", "sample"})
"""options whose folders are read with all that is below them"""


def guarded(app: typer.Typer, verb: str) -> Any:
    """The command of a verb, which checks its paths between the parsing of its options and its work."""
    command = typer.main.get_command(app)
    invoke = command.invoke

    def checked(ctx: Any) -> Any:
        check_numbers(ctx.params)
        check_inputs(ctx.params)
        check(verb, ctx.params)
        return invoke(ctx)

    command.invoke = checked  # type: ignore[method-assign]
    return command


def check_numbers(values: dict[str, Any]) -> None:
    """Raise UserError where an option's value is `nan` or `inf`: they are floats and pass a minimum."""
    for name, value in values.items():
        for number in value if isinstance(value, list | tuple) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise UserError(f"--{name.replace('_', '-')} {number}: give a finite number")


def check_inputs(values: dict[str, Any]) -> None:
    """Raise UserError where an option's value is a path of something whose opening may wait for ever, or of no file.

    A pipe that the shell made (`<(...)`, /dev/stdin) is allowed. An option that is a `Path` reads local files only: an
    address there is an error. Those whose values are text may be read through fsspec.
    """
    for name, value in values.items():
        for path in value if isinstance(value, list | tuple) else [value]:
            if isinstance(path, Path) and name not in ("out", "out_file"):
                check_local(path)
    for path in (path for name, value in values.items() if name != "overrides" for path in _paths(value)):
        if is_remote(path) or path.startswith(("/dev/", "/proc/")):
            continue
        try:
            kind = irregular(path)
        except OSError as error:
            if error.errno != errno.ELOOP:  # each verb says what it needs where nothing is
                continue
            raise UserError(f"{path}: {error.strerror}") from None
        if kind not in (None, "a folder"):
            raise UserError(f"{path}: is {kind}; give a regular file or a folder")


def check(verb: str, values: dict[str, Any]) -> None:
    """Check `--out` and `--out-file` of a verb's parsed options against its other options that name files and folders.

    Raises UserError where the verb must not write there: see `llm_core.runtime.outputs`.
    """
    is_file = values.get("out_file") is not None
    out = values.get("out_file" if is_file else "out")
    if not isinstance(out, str | Path):
        return
    for option in READ_WHOLE & values.keys():
        for path in _paths([values[option]] if isinstance(values[option], str) else values[option]):
            if not is_remote(path) and Path(path).resolve() in Path(out).resolve().parents:
                raise UserError(f"{out}: lies inside the input {path}, so the next run would read it; name another")
    given = [
        path for name, value in values.items() if name not in ("out", "out_file", "overrides") for path in _paths(value)
    ]
    if is_file:
        check_output_file(out, given)
    elif verb in ADDED_TO:
        check_place(out)
    else:
        check_output(out, given)


def _paths(value: Any) -> Iterator[str]:
    """The paths in an option's value; `{source}` is replaced by the name of every source."""
    if isinstance(value, Path):
        yield str(value)
    elif isinstance(value, list | tuple):
        for item in value:
            if isinstance(item, str) and "{source}" in item:
                before, _, after = item.partition("{source}")
                yield from map(str, Path(before or ".").glob(f"*{after}" if before.endswith("/") else f"../*{after}"))
            elif isinstance(item, str | Path):
                yield str(item)
