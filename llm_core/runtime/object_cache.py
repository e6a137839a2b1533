"""Local copies of shards on object storage: fetched once, checked, and bounded in size.

A shard is fetched whole and its SHA-256 compared with the manifest's before anything reads it: a changed object is an
error, never data. The copies are in `.scratch/objects`, named by their content. Beyond the bound, those unused for the
longest time are removed. A copy's modification time is the time until which it is kept in any case: a few seconds for
a file that is opened at once, a day for files that are mapped into memory or that a query opens later. The bound is
therefore exceeded where one query or one training needs more than it.
"""

import fcntl
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from llm_core.errors import UserError
from llm_core.runtime.addresses import file_system, is_remote
from llm_core.runtime.digests import file_digest
from llm_core.runtime.manifests import SHARDS, Shard, find_shard, object_name
from llm_core.runtime.redaction import redact

FOLDER = Path(".scratch/objects")
VARIABLE = "LLM_CORE_OBJECT_CACHE_MB"  # how worker processes learn the bound
DEFAULT_MB = 10_240
PARALLEL = 4  # shards fetched at the same time
OPENED_SECONDS = 30.0
HELD_SECONDS = 86_400.0
ABANDONED_SECONDS = 3600.0


def local_file(path: str | Path, held: bool = False) -> Path:
    """The local file with the bytes of `path`: itself, or the copy of the shard that a manifest lists under its name.

    With `held` it is kept for a day, for readers that do not open it at once. Where there is neither a file nor a
    shard, `path` itself, so that its reader says what is missing. Raises UserError where the shard cannot be fetched
    or is not what the manifest says.
    """
    file = Path(path)
    if file.exists():
        return file
    shard = find_shard(file)
    return file if shard is None else _copy(shard, file, HELD_SECONDS if held else OPENED_SECONDS)


def local_files(paths: Iterable[str | Path]) -> list[str]:
    """The same for files that a query opens later; an address of another file system stays as it is."""
    with ThreadPoolExecutor(PARALLEL) as pool:
        found = pool.map(lambda path: path if is_remote(path) else local_file(path, held=True), paths)
        return [str(path) for path in found]


def fetched_ahead(paths: Sequence[str]) -> Iterator[str]:
    """The paths, one after the other; the shards of the next few are fetched while a path is read."""
    if all(find_shard(path) is None for path in paths):
        yield from paths
        return
    with ThreadPoolExecutor(PARALLEL) as pool:
        for number, path in enumerate(paths):
            first = number + 1 if not number else number + PARALLEL
            for following in paths[first : number + 1 + PARALLEL]:
                pool.submit(local_file, following)  # an error is raised where the path is opened
            yield path


def _copy(shard: Shard, path: Path, seconds: float) -> Path:
    cached = FOLDER / object_name(shard.sha256, path.suffix)
    if _keep(cached, shard, seconds):
        return cached
    cached.parent.mkdir(parents=True, exist_ok=True)
    with open(cached.with_suffix(".lock"), "w") as lock:  # workers that read pieces of one shard fetch it once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _keep(cached, shard, seconds):
            return cached
        _make_room(shard.bytes)
        partial = cached.parent / f".{cached.name}.partial-{secrets.token_hex(6)}"
        try:
            _fetch(shard, path, partial)
            partial.chmod(0o444)
            until = time.time() + seconds
            os.utime(partial, (until, until))
            partial.rename(cached)
        finally:
            partial.unlink(missing_ok=True)
            cached.with_suffix(".lock").unlink(missing_ok=True)
    return cached


def _keep(cached: Path, shard: Shard, seconds: float) -> bool:
    """Whether there is a copy; it is then kept for `seconds` more."""
    try:
        status = cached.stat()
        if status.st_size != shard.bytes:
            return False
        until = max(status.st_mtime, time.time() + seconds)
        os.utime(cached, (until, until))
    except FileNotFoundError:
        return False
    return True


def _fetch(shard: Shard, path: Path, partial: Path) -> None:
    where = f"{path}: its shard {redact(shard.address)}"
    filesystem, place = file_system(shard.address)
    try:
        filesystem.get_file(place, str(partial))
    except FileNotFoundError:
        raise UserError(f"{where} is not there; run the stage that wrote the folder again") from None
    except Exception as error:  # each file system has errors of its own
        raise UserError(f"{where} cannot be read ({redact(str(error)) or type(error).__name__})") from error
    found = file_digest(partial, "sha256")
    if found != shard.sha256:
        size = partial.stat().st_size
        raise UserError(
            f"{where} was changed: it has {size} bytes of SHA-256 {found}, but the manifest says {shard.bytes} bytes "
            f"of {shard.sha256}; remove the object and run the stage that wrote the folder again"
        )


def _make_room(needed: int) -> None:
    """Remove the copies that were unused for the longest time, until `needed` more bytes are within the bound."""
    bound = int(os.environ.get(VARIABLE, DEFAULT_MB)) << 20
    files, now = [], time.time()
    for file in FOLDER.glob("??/*"):
        try:
            status = file.stat()
        except FileNotFoundError:  # removed by another process
            continue
        if file.name.startswith("."):
            if now - status.st_mtime > ABANDONED_SECONDS:  # of a process that was killed
                file.unlink(missing_ok=True)
        elif file.suffix in SHARDS:
            files.append((status.st_mtime, status.st_size, file))
    total = sum(size for _, size, _ in files) + needed
    for until, size, file in sorted(files):
        if total <= bound or until > now:
            break
        file.unlink(missing_ok=True)
        total -= size
