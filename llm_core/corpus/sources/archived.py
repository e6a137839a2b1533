"""Zip and tar archives as folders of files: each member is read like a file, rejected, or counted as not read.

A member is copied to a temporary file of a name that is ours, read and deleted, so no name in an archive leads
anywhere. Links and devices are not made. Bytes that come out are counted over the whole archive, nested ones included,
and bounded like those of a compressed file. A tar is read as a stream. Members keep the archive's order.
"""

import errno
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import quote, urlsplit, urlunsplit

from llm_core.corpus.sources.base import Limits, Record, Rejected, broken_file, or_empty
from llm_core.corpus.sources.survey import fits
from llm_core.errors import UserError
from llm_core.network.archives import BROKEN
from llm_core.runtime.inputs import RATIO_COUNTS_FROM, BrokenInputError, open_input, open_unchanged
from llm_core.runtime.storage import is_remote

SHORT = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".txz": ".tar.xz"}
TARS = (".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", *SHORT)
ARCHIVES = (".zip", *TARS)
BETWEEN = "!/"  # between the name of an archive and that of a member, as Java's addresses have it
MAX_NESTED = 1  # levels of archives in archives
MAX_NAME_BYTES = 1 << 20  # of GNU tar's long names, which tarfile holds in memory
# Of extended headers (PAX): before Python 3.11.10 tarfile searches each in quadratic time (CVE-2024-6232).
MAX_PAX_BYTES, SMALL_PAX_BYTES, ALL_PAX_BYTES = 1 << 15, 1 << 12, 1 << 20
COPIED_BYTES = 1 << 20
PAX = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
LONG_NAMES = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)


@dataclass
class Budget:
    """Decompressed bytes that may still come out of an archive."""

    left: float

    @classmethod
    def of(cls, archive: Path, limits: Limits) -> "Budget":
        """What a file of this size may become."""
        return cls(max(RATIO_COUNTS_FROM, limits.max_inflation * archive.stat().st_size))


@dataclass(frozen=True)
class Member:
    """One entry of an archive; `kind` says why it is no file, where it is none."""

    name: str
    open: Callable[[], IO[bytes]]
    kind: str | None = None


class Archives:
    """Reads the members of archives.

    `not_read` gives a member's name the reason why files of this kind are not read, or None; `read` the records of the
    file at a path, by its name. Members that are no files or not read are counted in `skipped`.
    """

    def __init__(
        self,
        limits: Limits,
        skipped: Counter[str],
        not_read: Callable[[str], str | None],
        read: Callable[[Path, str], Iterator[Record]],
    ) -> None:
        self.limits, self.skipped, self.not_read, self.read = limits, skipped, not_read, read

    def records(self, path: Path, name: str, level: int = 0, budget: Budget | None = None) -> Iterator[Record]:
        """The records of all members. An archive that breaks off ends with a rejected record.

        `level` and `budget` are given for an archive in another one.
        """
        budget = budget or Budget.of(path, self.limits)
        try:
            yield from or_empty(self._members(path, name, level, budget), self.skipped)
        except (UserError, *BROKEN) as error:
            yield _broken(error, "quarantine_broken_archive", name)

    def _members(self, path: Path, name: str, level: int, budget: Budget) -> Iterator[Record]:
        with _opened(path, name, self.limits) as members, tempfile.TemporaryDirectory(prefix="llm-core-") as place:
            target = Path(place) / "member"
            for member in members:
                nested = fits(member.name, ARCHIVES)
                whole = _joined(name, member.name)
                if member.kind is None and _leads_out(member.name):
                    yield Rejected("quarantine_name_leaves_archive", 0, file=whole)
                elif reason := member.kind or _hidden(member.name) or (None if nested else self.not_read(member.name)):
                    self.skipped[reason] += 1
                elif nested and level == MAX_NESTED:
                    yield Rejected("quarantine_nested_archive", 0, file=whole)
                else:
                    try:
                        _copy(member, target, whole, budget)
                    except BROKEN as error:
                        yield _broken(error, "quarantine_broken_member", whole)
                        continue
                    read = self.records(target, whole, level + 1, budget) if nested else self.read(target, whole)
                    for record in read:
                        yield record if record.file else replace(record, file=whole)


def _joined(archive: str, member: str) -> str:
    """The name of a member: `folder/a.zip!/b.txt`; that of an archive on the web has no query, and is an address."""
    if not is_remote(archive):
        return f"{archive}{BETWEEN}{member}"
    parts = urlsplit(archive)
    return urlunsplit(parts._replace(path=f"{parts.path}{BETWEEN}{quote(member)}", query="", fragment=""))


def _broken(error: Exception, reason: str, name: str) -> Rejected:
    """The rejected record for what the libraries raise. Raises the error where the fault is the machine's."""
    if isinstance(error, UserError):
        return replace(broken_file(error), file=name)
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # a zip may ask for a place before 0
        raise error
    if isinstance(error, RuntimeError) and "encrypted" in str(error):  # zipfile's words
        reason = "quarantine_encrypted"
    return Rejected(reason, 0, 0, " ".join(f"{type(error).__name__}: {error}".split())[:300], name)


@contextmanager
def _opened(path: Path, name: str, limits: Limits) -> Iterator[Iterator[Member]]:
    """The archive's entries, without its folders."""
    if not fits(name, TARS):
        with open_unchanged(path) as stream, zipfile.ZipFile(stream) as archive:
            yield _of_zip(archive)
        return
    long = next((name[: -len(short)] + end for short, end in SHORT.items() if name.lower().endswith(short)), name)
    with (
        open_input(path, long, limits.max_inflation) as stream,
        tarfile.open(fileobj=stream, mode="r|", tarinfo=type("_Bounded", (_Bounded,), {})) as tar,
    ):
        yield _of_tar(tar)


def _of_zip(archive: zipfile.ZipFile) -> Iterator[Member]:
    for entry in archive.infolist():
        if not entry.is_dir():
            link = (entry.external_attr >> 16) & 0o170000 == 0o120000
            yield Member(entry.filename, partial(archive.open, entry), "linked_file" if link else None)


def _of_tar(tar: tarfile.TarFile) -> Iterator[Member]:
    for entry in tar:
        if entry.isdir():
            continue
        kind = None if entry.isreg() else "linked_file" if entry.issym() or entry.islnk() else "no_regular_file"
        yield Member(entry.name, partial(_extract, tar, entry), kind)


def _extract(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    stream = tar.extractfile(entry)
    if stream is None:
        raise tarfile.ReadError("is no regular file")
    return stream


class _Bounded(tarfile.TarInfo):
    """A header of an archive; `spent` is counted in a subclass of each archive's own."""

    spent = 0  # bytes of extended headers that are not small

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Bounded":
        """As the library's, which takes a broken header and a missing end for the end, and reads headers of any size.

        Raises BrokenInputError instead.
        """
        try:
            entry = super().frombuf(buf, encoding, errors)
        except (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError):  # type: ignore[attr-defined]
            raise BrokenInputError("quarantine_truncated", "the archive ends before its end mark") from None
        except tarfile.InvalidHeaderError as error:  # type: ignore[attr-defined]
            raise BrokenInputError("quarantine_broken_archive", f"a broken header ({error})") from None
        if entry.type in PAX:
            cls.spent += entry.size if entry.size > SMALL_PAX_BYTES else 0
        if (
            (entry.type in PAX and entry.size > MAX_PAX_BYTES)
            or (entry.type in LONG_NAMES and entry.size > MAX_NAME_BYTES)
            or cls.spent > ALL_PAX_BYTES
        ):
            raise BrokenInputError("quarantine_broken_archive", f"extended headers are too long ({entry.size} bytes)")
        return entry


def _copy(member: Member, target: Path, name: str, budget: Budget) -> None:
    with member.open() as source, open(target, "wb") as sink:
        while data := source.read(COPIED_BYTES):
            budget.left -= len(data)
            if budget.left < 0:
                raise BrokenInputError("quarantine_decompression_bomb", f"{name}: here the archive exceeds its bound")
            sink.write(data)


def _hidden(name: str) -> str | None:
    """A reason not to read a member, by its name alone; the same as for files (`survey`)."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "name_not_utf8"
    parts = [part for part in PurePosixPath(name).parts if part not in (".", "..", "/")]
    return "hidden_name" if any(part.startswith((".", "_")) for part in parts) else None


def _leads_out(name: str) -> bool:
    """Whether the name would lead out of the folder where the archive is unpacked, on any system."""
    return name.startswith(("/", "\\")) or name[1:2] == ":" or ".." in name.replace("\\", "/").split("/")
