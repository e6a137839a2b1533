"""Where bytes live: inputs behind fsspec, JSON files read and written.

Every reader of documents takes a path or an fsspec address (`s3://…`). Outputs are local folders and files that
appear whole or not at all: see `llm_core.runtime.outputs`.
"""

import json
import os
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.core import url_to_fs

from llm_core.errors import UserError
from llm_core.runtime.outputs import output_file as output_file
from llm_core.runtime.outputs import output_folder as output_folder


def is_remote(path: str | Path) -> bool:
    """Whether `path` is an address of another file system (`s3://…`, `memory://…`)."""
    return "://" in str(path)


def open_file(path: str | Path, mode: str = "rb") -> IO[Any]:
    """Open a local path or an fsspec address, uncompressed."""
    return fsspec.open(str(path), mode).open()  # type: ignore[no-any-return]


def list_files(path: str | Path, endings: tuple[str, ...]) -> list[str]:
    """Files at `path`: itself, or, sorted, everything below it whose name ends in `endings`.

    Names that begin with a dot or an underscore are skipped: they are unfinished or notes.
    Raises UserError when there is nothing at `path`.
    """
    filesystem, root = url_to_fs(str(path))
    if filesystem.isfile(root):
        return [str(path)]
    if not filesystem.isdir(root):
        raise UserError(f"{path}: no such file or folder")
    found = []
    for file in filesystem.find(root):
        below = os.path.relpath(file, root)
        hidden = any(part.startswith((".", "_")) for part in Path(below).parts)
        if not hidden and file.endswith(endings):
            # As the path was given: what a stage writes down must not depend on the working folder.
            found.append(filesystem.unstrip_protocol(file) if is_remote(path) else str(Path(path) / below))
    return sorted(found)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, whole or not at all."""
    with output_file(path) as stream:
        json.dump(value, stream, indent=2, sort_keys=True, ensure_ascii=False)
        stream.write("\n")


def read_json(path: str | Path) -> Any:
    """Read JSON; UserError names the file where it is missing or broken."""
    try:
        with open_file(path) as stream:
            return json.load(stream)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
