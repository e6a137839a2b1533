"""Opening input files: regular files only, decompressed by their ending, whole, and unchanged while they are read.

Every reader of data opens its files here, so that the same faults are found everywhere: a FIFO, socket or device
(opening one may wait for ever), a compressed file that was cut off, a file that another process rewrites while it is
read, and a decompression bomb. Memory stays small: bytes are decompressed as they are asked for, and the window
that a zstd or xz file may ask for is bounded.
"""

import io
import lzma
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from llm_core.errors import UserError
from llm_core.runtime.storage import is_remote, local_file, open_file

BUFFER_BYTES = 1 << 20
COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
MAX_RATIO = 200  # decompressed to compressed bytes; text compresses 2 to 20 times, logs up to 100 times
RATIO_COUNTS_FROM = 64 << 20  # decompressed bytes below which the ratio is not looked at
MAX_WINDOW_BYTES = 128 << 20  # what a zstd or xz file may ask to be held in memory; zstd's own default
KINDS = {
    stat.S_IFIFO: "a FIFO (named pipe)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class BrokenInputError(UserError):
    """An input file cannot be read to its end. `reason` is the name that the ledger gives it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """How it travels from a worker process."""
        return type(self), (self.reason, str(self))


def compression_of(name: str) -> str | None:
    """The ending that says how a file is compressed (`.gz`, `.zst`, `.bz2`, `.xz`), in either case; else None."""
    lower = name.lower()
    return next((ending for ending in COMPRESSED if lower.endswith(ending)), None)


def irregular(path: str | Path) -> str | None:
    """What is at a local `path` that is no regular file (`a FIFO (named pipe)`, …), else None.

    The file is not opened. Raises FileNotFoundError and other OSErrors of `stat`.
    """
    mode = Path(path).stat().st_mode
    return None if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "no regular file")


@contextmanager
def open_unchanged(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a local regular file, or an fsspec address, for reading; nothing is decompressed.

    Raises BrokenInputError when a local file is not a regular one, and, at the end of the block, when the file was
    rewritten, extended or replaced meanwhile (its size, modification time or inode differ).
    """
    if is_remote(path):
        with open_file(path) as stream:
            yield stream
        return
    file = local_file(path)
    if file != Path(path):  # a copy that was checked, and that nobody rewrites
        with open(file, "rb") as stream:
            yield stream
        return
    kind = irregular(path)
    if kind:
        raise BrokenInputError("quarantine_no_regular_file", f"{path}: is {kind}, not a file; give regular files")
    with open(path, "rb") as stream:
        before = _identity(os.fstat(stream.fileno()))
        yield stream
    try:
        after = _identity(Path(path).stat())
    except FileNotFoundError:
        after = ()
    if before != after:
        raise BrokenInputError(
            "quarantine_changed_while_read", f"{path}: was changed while it was read; run again when it is complete"
        )


@contextmanager
def open_input(path: str | Path, name: str | None = None, max_ratio: float = MAX_RATIO) -> Iterator[IO[bytes]]:
    """Open a data file for reading, decompressed by the ending of `name` (by default the path's own).

    `max_ratio` bounds decompressed bytes to compressed bytes; a file beyond it is a decompression bomb.
    Raises BrokenInputError, in the block too: the file is truncated, broken, a bomb, changed meanwhile, or no file.
    """
    compression = compression_of(name or str(path))
    with open_unchanged(path) as raw:
        if compression is None:
            yield raw
            return
        source = _Counted(raw)
        opened = _decompressor(io.BufferedReader(source, BUFFER_BYTES), compression)
        yield io.BufferedReader(_Guarded(opened, source, str(name or path), max_ratio), BUFFER_BYTES)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _decompressor(raw: io.BufferedReader, compression: str) -> Callable[[int], bytes]:
    """A function like `read1`: some decompressed bytes, b"" at the end; it raises where the input ends too early."""
    if compression == ".gz":
        import gzip

        return gzip.GzipFile(fileobj=raw).read1
    if compression == ".bz2":
        import bz2

        return bz2.BZ2File(raw).read1
    return _Zstd(raw).read1 if compression == ".zst" else _Xz(raw).read1


class _Counted(io.RawIOBase):
    """A raw stream that counts the bytes read through it."""

    def __init__(self, inner: IO[bytes]) -> None:
        self.inner, self.count = inner, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.inner.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)


class _Guarded(io.RawIOBase):
    """Decompressed bytes, with every library's errors as BrokenInputError, and the ratio held to its bound."""

    def __init__(self, read1: Callable[[int], bytes], source: _Counted, name: str, max_ratio: float) -> None:
        self.read1, self.source, self.name, self.max_ratio = read1, source, name, max_ratio
        self.count = 0
        self.rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.rest:
            self.rest = memoryview(self._more(len(buffer)))
        size = min(len(self.rest), len(buffer))
        buffer[:size], self.rest = self.rest[:size], self.rest[size:]
        return size

    def _more(self, size: int) -> bytes:
        import zlib

        import zstandard

        try:
            data = self.read1(size)
        except (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise BrokenInputError(
                "quarantine_truncated", f"{self.name}: broken or truncated compressed file ({error})"
            ) from None
        self.count += len(data)
        if self.count > RATIO_COUNTS_FROM and self.count > self.max_ratio * self.source.count:
            raise BrokenInputError(
                "quarantine_decompression_bomb",
                f"{self.name}: {self.source.count} compressed bytes become more than {self.count} bytes, over "
                f"{self.max_ratio:g} times as many; if the file is sound, give it uncompressed",
            )
        return data


class _Zstd:
    """Bytes of a zstd file of one or more frames.

    `zstandard.ZstdDecompressionReader` says nothing when the last frame is cut off, so frames are decompressed one by
    one. The input is fed in pieces of 2 KB, because a piece is decompressed whole: 4 bytes become up to 128 KB.
    """

    PIECE_BYTES = 2048

    def __init__(self, raw: io.BufferedReader) -> None:
        import zstandard

        self.raw = raw
        self.zstd = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES)
        self.frame: Any = None

    def read1(self, size: int) -> bytes:
        while True:
            ended = self.frame is not None and self.frame.eof
            piece = (self.frame.unused_data if ended else b"") or self.raw.read(self.PIECE_BYTES)
            if not piece:
                if self.frame is not None and not ended:
                    raise EOFError("the file ends before the end of its last frame")
                return b""
            if self.frame is None or ended:
                self.frame = self.zstd.decompressobj()
            if data := self.frame.decompress(piece):
                return bytes(data)


class _Xz:
    """Bytes of an xz file (several streams too), with the decoder's memory bounded, which lzma.LZMAFile cannot do."""

    def __init__(self, raw: io.BufferedReader) -> None:
        self.raw = raw
        self.decoder: lzma.LZMADecompressor | None = None
        self.ahead = b""

    def read1(self, size: int) -> bytes:
        while True:
            if self.decoder is None:
                self.ahead = self.ahead or self.raw.read(BUFFER_BYTES)
                if not self.ahead:
                    return b""
                self.decoder = lzma.LZMADecompressor(memlimit=2 * MAX_WINDOW_BYTES)
            elif self.decoder.needs_input and not self.ahead:
                self.ahead = self.raw.read(BUFFER_BYTES)
                if not self.ahead:
                    raise EOFError("the file ends before the end of its last stream")
            data = self.decoder.decompress(self.ahead, size)
            self.ahead = b""
            if self.decoder.eof:
                self.ahead, self.decoder = self.decoder.unused_data.lstrip(b"\0"), None
            if data:
                return data
