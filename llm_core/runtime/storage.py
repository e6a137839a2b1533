"""Where bytes live: inputs behind fsspec, JSON files read and written.

Every reader of documents takes a path or an fsspec address (`s3://…`). Outputs are local folders and files that
appear whole or not at all: see `llm_core.runtime.outputs`. The shards of an output may be on object storage, with a
manifest in their place: the functions here list and open them as if they were in the folder.
"""

import json
import math
import os
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Any

import fsspec

from llm_core.errors import UserError
from llm_core.runtime.addresses import file_system as file_system
from llm_core.runtime.addresses import is_remote as is_remote
from llm_core.runtime.addresses import reached as reached
from llm_core.runtime.manifests import MANIFEST, find_shard, read_manifest
from llm_core.runtime.object_cache import fetched_ahead as fetched_ahead
from llm_core.runtime.object_cache import local_file as local_file
from llm_core.runtime.object_cache import local_files as local_files
from llm_core.runtime.outputs import output_file as output_file
from llm_core.runtime.outputs import output_folder as output_folder


def is_folder(path: str | Path) -> bool:
    """Whether there is a folder at a path or an address. Raises UserError as `file_system` and `reached` do."""
    filesystem, place = file_system(path)
    with reached(path):
        return bool(filesystem.isdir(place))


def open_file(path: str | Path, mode: str = "rb") -> IO[Any]:
    """Open a local path or an fsspec address, uncompressed. Raises UserError as `file_system` does."""
    if not is_remote(path) and "r" in mode:
        path = local_file(path)
    file_system(path)
    with reached(path):
        return fsspec.open(str(path), mode).open()  # type: ignore[no-any-return]


def require_writable_name(path: str) -> None:
    """Raise UserError for a path that is not UTF-8: it could be read, but not written into a ledger."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(f"{path!a}: the name of this file is not UTF-8; rename it") from None


def list_files(path: str | Path, endings: tuple[str, ...]) -> list[str]:
    """Files at `path`: itself, or, sorted, everything below it whose name ends in `endings`, in either case.

    Names that begin with a dot or an underscore are skipped: they are unfinished or notes.
    Raises UserError when there is nothing at `path`, and at a name that is not UTF-8 and so cannot be written down.
    """
    require_writable_name(str(path))
    filesystem, root = file_system(path)
    with reached(path):
        if filesystem.isfile(root) or find_shard(path):
            return [str(path)]
    if not is_folder(path):
        there = filesystem.exists(root)
        raise UserError(f"{path}: {'neither a regular file nor a folder' if there else 'no such file or folder'}")
    found = []
    for file in filesystem.find(root):
        below = os.path.relpath(file, root)
        hidden = any(part.startswith((".", "_")) for part in Path(below).parts)
        if not hidden and file.lower().endswith(endings):
            require_writable_name(file)
            # As the path was given: what a stage writes down must not depend on the working folder.
            found.append(filesystem.unstrip_protocol(file) if is_remote(path) else str(Path(path) / below))
        elif Path(below).name == MANIFEST and not any(part.startswith((".", "_")) for part in Path(below).parts[:-1]):
            if is_remote(path):
                raise UserError(f"{path}: contains a manifest of shards; read the local folder that it belongs to")
            shards = read_manifest(Path(path, below).parent)
            found += [str(Path(path, below).with_name(name)) for name in shards if name.lower().endswith(endings)]
    return sorted(found)


def glob_files(folder: Path, pattern: str) -> list[Path]:
    """As `folder.glob(pattern)`, sorted, with the shards that manifests list."""
    places, slash, name = pattern.rpartition("/")
    found = set(folder.glob(pattern))
    for manifest in folder.glob(f"{places}{slash}{MANIFEST}"):
        found |= {manifest.with_name(shard) for shard in read_manifest(manifest.parent) if fnmatch(shard, name)}
    return sorted(found)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, whole or not at all.

    A number that is not finite becomes null: JSON has none of these, and most readers refuse `NaN`.
    """
    with output_file(path) as stream:
        json.dump(finite(value), stream, indent=2, sort_keys=True, ensure_ascii=False)
        stream.write("\n")


def finite(value: Any) -> Any:
    """`value`, with null in place of numbers in it that are not finite."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: str | Path) -> Any:
    """Read JSON; UserError names the file where it is missing or broken."""
    try:
        with open_file(path) as stream:
            return json.load(stream)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error})") from None
