"""Where bytes live: paths behind fsspec, and outputs that appear whole or not at all.

Every reader and writer of the project takes a path or an fsspec address (`s3://…`).
A local output folder is written beside its final name and renamed at the end, so that a
killed stage leaves nothing that looks finished.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
from fsspec.core import url_to_fs

from llm_core.errors import UserError


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


@contextmanager
def output_folder(out: str | Path) -> Iterator[Path]:
    """Yield a scratch folder that becomes `out` when the block ends without an error.

    What stood at `out` before is replaced whole. On an error, Ctrl-C included, the
    scratch folder is removed and `out` stays as it was.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    for leftover in out.parent.glob(f".{out.name}.partial-*"):
        if not _is_running(leftover.name.rpartition("-")[2]):
            shutil.rmtree(leftover, ignore_errors=True)
    scratch = out.parent / f".{out.name}.partial-{os.getpid()}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    previous = out.parent / f".{out.name}.previous-{os.getpid()}"
    if out.exists():
        out.rename(previous)
    scratch.rename(out)
    shutil.rmtree(previous, ignore_errors=True)


@contextmanager
def output_file(out: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a file for writing that appears under its name only when the block ends well."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = out.parent / f".{out.name}.partial-{os.getpid()}"
    try:
        with open(scratch, mode, encoding=None if "b" in mode else "utf-8") as stream:
            yield stream
        scratch.replace(out)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


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


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
