"""Zip and tar archives read as data: members as bytes, nothing unpacked to disk, nothing run.

Reading members in memory leaves no room for path traversal, links or executables. What the
archive is, is judged by its content; a file that is not what its name says is a UserError.
"""

import fnmatch
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from llm_core.errors import UserError

LARGEST_MEMBER_BYTES = 4 << 30  # a guard against decompression bombs


def read_members(path: str | Path, patterns: list[str]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the archive's files whose name fits one of the glob `patterns`, sorted by name.

    An sdist's or wheel's top folder is part of the name: `*/texts/*.txt`. Tar members are all held in
    memory at once (a tar has no index, and the order of its members is not to be relied upon).
    Raises UserError when `path` is no archive, broken, or holds no such file.
    """
    path = Path(path)
    found = False
    try:
        for name, data in _zip(path, patterns) if zipfile.is_zipfile(path) else _tar(path, patterns):
            found = True
            yield name, data
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UserError(f"{path.name}: not a readable zip or tar archive ({error})") from None
    if not found:
        raise UserError(f"{path.name}: holds no file like {', '.join(patterns)}")


def _zip(path: Path, patterns: list[str]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for member in sorted(archive.infolist(), key=lambda member: member.filename):
            if not member.is_dir() and _fits(member.filename, patterns):
                _check_size(path, member.filename, member.file_size)
                yield member.filename, archive.read(member)


def _tar(path: Path, patterns: list[str]) -> Iterator[tuple[str, bytes]]:
    picked: dict[str, bytes] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and _fits(member.name, patterns):
                _check_size(path, member.name, member.size)
                stream = archive.extractfile(member)
                picked[member.name] = stream.read() if stream else b""
    yield from sorted(picked.items())


def _fits(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _check_size(path: Path, name: str, size: int) -> None:
    if size > LARGEST_MEMBER_BYTES:
        raise UserError(f"{path.name}: member {name} is {size} bytes long, more than is taken into memory")
