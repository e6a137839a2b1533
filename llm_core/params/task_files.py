"""The files that a task file of lm-eval-harness needs: those that it includes, its items, its Python functions.

The task file is read as plain YAML: a `!function` is noted and never loaded.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from llm_core.errors import UserError


class TaskFile(NamedTuple):
    """A task file of lm-eval-harness with what it includes, its own keys over those."""

    config: dict[str, Any]
    functions: list[str]
    """`!function` names, as they are written: `utils.process_docs`"""
    files: list[str]
    """the file itself, what it includes, and the modules beside them that functions name"""


class _Loader(yaml.SafeLoader):
    """Safe YAML in which `!function NAME` is a `_Function`."""


class _Function(str):
    """The name of a Python function in a task file."""


_Loader.add_constructor("!function", lambda loader, node: _Function(loader.construct_scalar(node)))  # type: ignore[arg-type]


def read_task_file(path: Path) -> TaskFile:
    """Read a task file. Raises UserError: not there, not YAML, no mapping, an include that leads back to itself."""
    return _read(path.expanduser(), ())


def _read(path: Path, above: tuple[Path, ...]) -> TaskFile:
    if path.resolve() in above:
        raise UserError(f"{path}: includes itself")
    try:
        config = yaml.load(path.read_bytes(), Loader=_Loader)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: a task of lm-eval-harness is a mapping")
    functions = [str(value) for value in _leaves(config) if isinstance(value, _Function)]
    files = [str(path)]
    for module in {f"{name.rpartition('.')[0].replace('.', '/')}.py" for name in functions}:
        if (path.parent / module).is_file():
            files.append(str(path.parent / module))
    merged: dict[str, Any] = {}
    included = config.pop("include", [])
    for other in included if isinstance(included, list) else [included]:
        found = _read(path.parent / str(other), (*above, path.resolve()))  # an absolute path replaces the folder
        merged |= {key: value for key, value in found.config.items() if key != "task_list"}
        functions, files = functions + found.functions, files + found.files
    return TaskFile(merged | config, functions, files)


def data_files(config: dict[str, Any], folder: Path) -> dict[str, list[str]]:
    """Split -> local files of its items, as `dataset_kwargs.data_files` names them; {} where it names none.

    A path counts from the working folder, as in lm-eval-harness, or from the task file's `folder`.
    """
    named = (config.get("dataset_kwargs") or {}).get("data_files") or {}
    if isinstance(named, str | list):
        named = {"train": named}
    found = {}
    for split, paths in named.items():
        listed = [str(path) for path in (paths if isinstance(paths, list) else [paths])]
        found[str(split)] = [path if Path(path).exists() else str(folder / path) for path in listed]
    return found


def task_files(path: Path) -> list[str]:
    """Every local file that the task at `path` needs; the path alone where it cannot be read (its stage says why)."""
    try:
        task = read_task_file(path)
    except UserError:
        return [str(path)]
    items = [file for files in data_files(task.config, path.expanduser().parent).values() for file in files]
    return sorted({*task.files, *items})


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value
