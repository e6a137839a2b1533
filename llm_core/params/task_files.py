"""The files that a task file of lm-eval-harness needs: those that it includes, its items, its Python functions.

The task file is read as plain YAML: a `!function` is noted and never loaded. It is another person's file as often as
one's own, so it is bounded as params.yaml is, and a function counts wherever it is written: also as a key.
"""

from pathlib import Path
from typing import Any, NamedTuple

import yaml
from ruamel.yaml import YAMLError

from llm_core.errors import UserError
from llm_core.params.reading import LARGEST, check_size

MOST_FILES = 200  # a task and all that it includes, each as often as it is included


class TaskFile(NamedTuple):
    """A task file of lm-eval-harness with what it includes, its own keys over those."""

    config: dict[str, Any]
    functions: list[str]
    """`!function` names, as they are written: `utils.process_docs`"""
    files: list[str]
    """the file itself, what it includes, and the modules beside them that functions name"""


class _Loader(yaml.SafeLoader):
    """Safe YAML in which `!function NAME` is the name, which `functions` keeps."""

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self.functions: list[str] = []

    def noted(self, node: yaml.ScalarNode) -> str:
        """The name after `!function`."""
        self.functions.append(str(self.construct_scalar(node)))
        return self.functions[-1]


_Loader.add_constructor("!function", _Loader.noted)


def read_task_file(path: Path) -> TaskFile:
    """Read a task file.

    Raises UserError: not there, too large, not YAML, no mapping, `data_files` that are no paths, an include that leads
    back to itself or to more than MOST_FILES files.
    """
    return _read(path.expanduser(), (), [])


def _read(path: Path, above: tuple[Path, ...], read: list[Path]) -> TaskFile:
    """The file at `path`, which those `above` include; `read` collects every file that was read."""
    place = path.resolve()
    if place in above:
        raise UserError(f"{path}: includes itself")
    read.append(path)
    if len(read) > MOST_FILES:
        raise UserError(f"{read[0]}: includes more than {MOST_FILES} files, each counted as often as it is included")
    config, functions = _load(path)
    files = [str(path)]
    for module in {f"{name.rpartition('.')[0].replace('.', '/')}.py" for name in functions}:
        if is_file(path.parent / module):
            files.append(str(path.parent / module))
    merged: dict[str, Any] = {}
    included = config.pop("include", [])
    for other in included if isinstance(included, list) else [included]:
        if not _is_path(other):
            raise UserError(f"{path}: include: {other!r} is no path")
        found = _read(path.parent / other, (*above, place), read)  # an absolute path replaces the folder
        merged |= {key: value for key, value in found.config.items() if key != "task_list"}
        functions, files = functions + found.functions, files + found.files
    return TaskFile(merged | config, functions, files)


def _load(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The mapping in a YAML file, and the functions that it names."""
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path}: not a file")  # a pipe or device may have no end
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise UserError(f"{path}: larger than {LARGEST >> 20} MiB, which no task file is")
        check_size(data, str(path))
        loader = _Loader(data)
        config = loader.get_single_data()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (YAMLError, yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        # PyYAML raises the last four for values that are not of their tag: an impossible date, `!!bool maybe`.
        raise UserError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: a task of lm-eval-harness is a mapping")
    _check_data_files(path, config)
    return config, loader.functions


def _check_data_files(path: Path, config: dict[str, Any]) -> None:
    arguments = config.get("dataset_kwargs") or {}
    if not isinstance(arguments, dict):
        raise UserError(f"{path}: dataset_kwargs must be a mapping")
    named = arguments.get("data_files") or {}
    for entry in named.values() if isinstance(named, dict) else [named]:
        for one in entry if isinstance(entry, list) else [entry]:
            if not _is_path(one):
                raise UserError(f"{path}: data_files: {one!r} is no path")


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


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
        found[str(split)] = [path if is_file(path) else str(folder / path) for path in listed]
    return found


def task_files(path: Path) -> list[str]:
    """Every local file that the task at `path` needs; the path alone where it cannot be read (its stage says why)."""
    try:
        task = read_task_file(path)
    except UserError:
        return [str(path)]
    items = [file for files in data_files(task.config, path.expanduser().parent).values() for file in files]
    return sorted({*task.files, *items})


def is_file(path: str | Path) -> bool:
    """Whether a path that a task file names is a file; a name that no file can have is none."""
    try:
        return Path(path).is_file()
    except OSError:  # longer than the file system has names
        return False
