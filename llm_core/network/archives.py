"""Zip and tar archives read as data: members as bytes, nothing unpacked to disk, nothing run.

Reading members in memory leaves no room for path traversal, links or executables. What the
archive is, is judged by its content; a file that is not what its name says is a UserError.
"""

import fnmatch
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from llm_core.errors import UserError

MAX_MEMBERS_BYTES = 512 << 20  # of all members that are taken into memory: a guard against decompression bombs
BROKEN = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error,
    EOFError, OSError, ValueError, OverflowError, RuntimeError, NotImplementedError,
)  # fmt: skip
"""what the two libraries raise on archives that are broken, encrypted or compressed in another way"""


def read_members(path: str | Path, patterns: list[str]) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of the archive's files whose name fits one of the glob `patterns`, sorted by name.

    An sdist's or wheel's top folder is part of the name: `*/texts/*.txt`. Tar members are all held in
    memory at once (a tar has no index, and the order of its members is not to be relied upon).
    Raises UserError when `path` is no archive, broken, or holds no file for one of the patterns.
    """
    path = Path(path)
    found: set[str] = set()
    try:
        for name, data in _zip(path, patterns) if zipfile.is_zipfile(path) else _tar(path, patterns):
            found.update(pattern for pattern in patterns if fnmatch.fnmatchcase(name, pattern))
            yield name, data
    except BROKEN as error:
        if isinstance(error, OSError) and error.errno is not None and not path.is_file():
            raise UserError(f"{path}: no such file") from None
        raise UserError(f"{path.name}: not a readable zip or tar archive ({' '.join(str(error).split())})") from None
    missing = [pattern for pattern in patterns if pattern not in found]
    if missing or not patterns:
        raise UserError(f"{path.name}: holds no file like {', '.join(missing) or 'nothing, since no name was given'}")


def _zip(path: Path, patterns: list[str]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir() and _fits(member.filename, patterns)]
        _check_size(path, sum(member.file_size for member in members))
        for member in sorted(members, key=lambda member: member.filename):
            yield member.filename, archive.read(member)


def _tar(path: Path, patterns: list[str]) -> Iterator[tuple[str, bytes]]:
    picked: dict[str, bytes] = {}
    total = 0
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and _fits(member.name, patterns):
                total += member.size
                _check_size(path, total)
                stream = archive.extractfile(member)
                picked[member.name] = stream.read() if stream else b""
    yield from sorted(picked.items())


def _fits(name: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _check_size(path: Path, size: int) -> None:
    if size > MAX_MEMBERS_BYTES:
        raise UserError(f"{path.name}: the files asked for have {size} bytes; at most {MAX_MEMBERS_BYTES} are read")
