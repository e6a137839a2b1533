"""Outputs on object storage: shards named by their contents, and removed when no manifest names them.

An output stays a local folder with its small files; of each folder of shards in it only the manifest is left
(`llm_core.runtime.manifests`), written when all its shards are on the storage. So a killed stage leaves no manifest,
and what it has uploaded is not uploaded again: an object of that name and size has that content. Until the upload, the
local disk holds the output of one stage.

Credentials and endpoint come from the environment, as botocore reads them (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, …);
an address that contains credentials is refused, because manifests are committed.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.params.launch import StorageLaunch, check_storage_address
from llm_core.runtime.addresses import file_system
from llm_core.runtime.digests import file_digest
from llm_core.runtime.manifests import (
    ABOUT,
    MANIFEST,
    OBJECT,
    SHARDS,
    Shard,
    object_name,
    parse_manifest,
    read_manifest,
    write_manifest,
)
from llm_core.runtime.object_cache import VARIABLE
from llm_core.runtime.progress import log, task
from llm_core.runtime.redaction import redact

NOTE = "README.txt"  # written when a stage begins: a storage that cannot be written is an error before hours of work
NOTE_TEXT = b"Shards of llm-core, named by their SHA-256. `llm-core gc` removes those that no manifest names.\n"
SKIPPED = frozenset({".git", ".venv", "node_modules", "__pycache__"})
MANIFEST_BYTES = 64 << 20  # larger files of DVC's cache are not looked into

_chosen = StorageLaunch()


def use(storage: StorageLaunch) -> None:
    """Write the shards of the outputs of this process as `launch.storage` says, until the next call."""
    global _chosen
    _chosen = storage
    os.environ[VARIABLE] = str(storage.cache_mb)


def check_address(address: str) -> None:
    """Raise UserError for an address that is none of a storage, or contains credentials."""
    try:
        check_storage_address(address)
    except ValueError as error:
        raise UserError(f"{redact(address)}: {error}") from None


def check_storage() -> None:
    """Raise UserError where `launch.storage` names a storage that cannot be written."""
    if _chosen.address:
        filesystem, place = _opened(_chosen.address)
        try:
            filesystem.pipe_file(f"{place}/{NOTE}", NOTE_TEXT)
        except Exception as error:  # each file system has errors of its own
            raise _failed(_chosen.address, error) from error


def upload_shards(folder: Path) -> None:
    """Replace the shards below the folders in `folder` by manifests, if `launch.storage` names a storage.

    Raises UserError where one cannot be uploaded; the folder is then left as it was.
    """
    if not _chosen.address:
        return
    files = [file for file in sorted(folder.glob("*/**/*")) if file.suffix in SHARDS and file.is_file()]
    if not files:
        return
    address = _chosen.address.rstrip("/")
    filesystem, place = _opened(address)
    shards: dict[Path, list[Shard]] = {}
    sent = 0
    with (
        task(f"upload to {address}", total=sum(file.stat().st_size for file in files), unit="bytes") as work,
        ThreadPoolExecutor(_chosen.parallel) as pool,
    ):
        futures = {pool.submit(_upload, filesystem, place, address, file): file for file in files}
        try:
            for future in as_completed(futures):
                shard, new = future.result()
                shards.setdefault(futures[future].parent, []).append(shard)
                sent += shard.bytes if new else 0
                work.update(shard.bytes)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    for parent, found in shards.items():
        write_manifest(parent, found)
    for file in files:
        file.unlink()
    total = sum(shard.bytes for found in shards.values() for shard in found)
    log(f"upload to {address}: {len(files)} shards, {total} bytes, {sent} of them new there")


def _upload(filesystem: Any, place: str, address: str, file: Path) -> tuple[Shard, bool]:
    """The shard of a file, and whether it was not there yet."""
    digest = file_digest(file, "sha256")
    size, name = file.stat().st_size, object_name(digest, file.suffix)
    shard = Shard(file.name, f"{address}/{name}", size, digest)
    try:
        if filesystem.info(f"{place}/{name}")["size"] == size:
            return shard, False
    except FileNotFoundError:
        pass
    except Exception as error:
        raise _failed(shard.address, error) from error
    try:
        filesystem.put_file(str(file), f"{place}/{name}")
        there = filesystem.info(f"{place}/{name}")["size"]
    except Exception as error:
        raise _failed(shard.address, error) from error
    if there != size:
        raise UserError(f"{shard.address}: has {there} bytes after the upload of {size}; run the stage again")
    return shard, True


def _opened(address: str) -> tuple[Any, str]:
    local = address.startswith(("file:", "local:"))
    filesystem, place = file_system(address, **({"auto_mkdir": True} if local else {}))
    filesystem.invalidate_cache()
    return filesystem, place.rstrip("/")


def _failed(address: str, error: Exception) -> UserError:
    told = " ".join(redact(str(error)).split()) or type(error).__name__
    if isinstance(error, FileNotFoundError):
        told = f"there is no such bucket or folder; make it first ({told})"
    return UserError(f"{redact(address)}: cannot be written: {told}")


@dataclass
class Named:
    """What the manifests of a project name."""

    manifests: int = 0
    addresses: set[str] = field(default_factory=set)

    def add(self, shards: Iterable[Shard]) -> None:
        """Count one manifest."""
        self.manifests += 1
        self.addresses |= {shard.address for shard in shards}


def named_below(folders: Iterable[Path]) -> Named:
    """The objects named by every manifest below `folders`: in outputs, and in a DVC cache, which has earlier versions.

    Raises UserError at a folder that is missing and at a manifest that cannot be read.
    """
    found = Named()
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder")
        for place, folders_below, files in os.walk(folder):
            folders_below[:] = [name for name in folders_below if name not in SKIPPED]
            here = Path(place)
            if MANIFEST in files:
                found.add(read_manifest(here).values())
            if here.parent.name == "md5" and here.parent.parent.name == "files":  # a DVC cache
                for file in map(here.joinpath, files):
                    if file.stat().st_size <= MANIFEST_BYTES and _is_manifest(file):
                        found.add(parse_manifest(file.read_text(encoding="utf-8"), file).values())
    return found


def _is_manifest(file: Path) -> bool:
    with open(file, "rb") as stream:
        return ABOUT.encode() in stream.read(len(ABOUT) + 64)


@dataclass
class Unnamed:
    """An object that no manifest names."""

    place: str
    bytes: int


def unnamed_objects(address: str, named: Named, older_than: float) -> Iterator[Unnamed]:
    """The objects of a storage that no manifest names and that are older than `older_than` hours.

    Files of other names are left out. Raises UserError where the storage cannot be read.
    """
    address = address.rstrip("/")
    filesystem, place = _opened(address)
    try:
        listed: dict[str, dict[str, Any]] = filesystem.find(place, detail=True)
    except Exception as error:
        raise UserError(f"{redact(address)}: cannot be read ({redact(str(error))})") from error
    for path, facts in sorted(listed.items()):
        name = path[len(place) :].lstrip("/")
        if not OBJECT.fullmatch(name) or f"{address}/{name}" in named.addresses:
            continue
        if older_than and _hours(facts) < older_than:
            continue
        yield Unnamed(path, int(facts["size"]))


def remove_objects(address: str, objects: list[Unnamed]) -> None:
    """Remove objects of a storage. Raises UserError where one cannot be removed."""
    filesystem, _ = _opened(address)
    with task(f"remove from {redact(address)}", total=len(objects), unit="objects") as work:
        for first in range(0, len(objects), 1000):
            part = objects[first : first + 1000]
            try:
                filesystem.rm([found.place for found in part])
            except Exception as error:
                raise UserError(f"{redact(address)}: cannot be removed from ({redact(str(error))})") from error
            work.update(len(part))


def _hours(facts: dict[str, Any]) -> float:
    """The age of an object; unknown ages count as 0."""
    made = facts.get("LastModified", facts.get("mtime", facts.get("created")))
    if isinstance(made, int | float):
        made = datetime.fromtimestamp(made, UTC)
    return (datetime.now(UTC) - made.astimezone(UTC)).total_seconds() / 3600 if made else 0.0
