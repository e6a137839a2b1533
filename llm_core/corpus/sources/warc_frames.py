"""Where WARC records begin and end, in files as they are: damaged, clipped, mislabelled.

fastwarc's own iterator stops at the first broken gzip member, and reads over the records that follow one whose
Content-Length is too large (measured with 2.0.1: docs/explanation/sources.md). Here the file is framed first: gzip
members are inflated one by one, a record must end where the next begins, and after damage reading goes on at the next
`WARC/` header. Each piece of damage is reported once, with its place; no intact record is lost.

Memory: one record at most, and `LARGEST_RECORD` bounds that; a larger one is skipped and reported.
"""

import re
import struct
import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

import zstandard

from llm_core.runtime.inputs import MAX_RATIO, MAX_WINDOW_BYTES, RATIO_COUNTS_FROM

CHUNK_BYTES = 1 << 16  # each member copies what is left of the chunk: small chunks are faster
ZSTD_PIECE_BYTES = 2048
LARGEST_RECORD = 64 << 20  # Common Crawl cuts payloads at 1 MiB (5 MiB since 2025)
LARGEST_HEADER = 64 << 10
GZIP_MAGIC = b"\x1f\x8b\x08"
ZSTD_MAGIC, ZSTD_DICTIONARY = b"\x28\xb5\x2f\xfd", b"\x5d\x2a\x4d\x18"
MARK = b"WARC/"
NEXT = b"\nWARC/1."
BLANK = re.compile(rb"[\r\n]*")
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*(\d+)[ \t]*\r\n", re.I)


@dataclass(frozen=True)
class Frame:
    """One record's bytes from `WARC/` to the end of its block, or damage: why, and how many bytes were given up."""

    offset: int  # of the gzip member that the record begins in, else of the record itself
    data: bytes = b""
    damage: str | None = None
    lost: int = 0


def read_frames(stream: IO[bytes]) -> Iterator[Frame]:
    """Stream the records of a WARC file: gzip (a member a record, or any other way), zstd or plain."""
    cutter = _Cutter()
    if _peek(stream, 2) == GZIP_MAGIC[:2]:
        yield from _gzip_frames(stream, cutter)
    elif _peek(stream, 4) in (ZSTD_MAGIC, ZSTD_DICTIONARY):
        yield from _zstd_frames(stream, cutter)
    else:
        cutter.mark(0)
        while chunk := stream.read(CHUNK_BYTES):
            cutter.data += chunk
            yield from cutter.cut()
        yield from cutter.cut("quarantine_truncated")


class _Cutter:
    """Cuts a growing buffer of inflated bytes into records."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._position = 0  # of the buffer's begin in the inflated stream
        self._marks: deque[tuple[int, int]] = deque()  # (position in the inflated stream, place in the file)
        self._header: tuple[int, int] | None = None  # where the record at the buffer's begin has its block: begin, end
        self._skip = 0  # bytes of a record that is too large to hold
        self._damage: list[int] = []  # [offset, bytes] of a stretch that is no record, while it lasts

    @property
    def inflated(self) -> int:
        """Inflated bytes so far."""
        return self._position + len(self.data)

    def mark(self, place: int) -> None:
        """From here on the inflated bytes lie at `place` in the file."""
        self._marks.append((self._position + len(self.data), place))

    def cut(self, ended: str | None = None) -> Iterator[Frame]:
        """Yield the records that are complete; with `ended`, what remains is damaged for that reason."""
        while True:
            if self._skip and not self._drop_skipped(ended is not None):
                return
            self._drop(BLANK.match(self.data).end())  # type: ignore[union-attr]
            if not self.data:
                break
            if self.data[:5] != MARK[: len(self.data)] or (ended and len(self.data) < len(MARK)):
                if not self._resume_after_garbage(ended is not None):
                    return
                yield from self._report("quarantine_garbage")
                continue
            yield from self._report("quarantine_garbage")
            if self._header is None:
                head = self.data.find(b"\r\n\r\n", 0, LARGEST_HEADER)
                if head < 0:
                    if not ended and len(self.data) < LARGEST_HEADER:
                        return
                    yield self._give_up(ended or "quarantine_header", 0)
                    continue
                length = CONTENT_LENGTH.search(self.data, 0, head + 2)
                if length is None:
                    yield self._give_up("quarantine_header", 0)
                    continue
                self._header = head, head + 4 + int(length[1])
            head, end = self._header
            if end - head > LARGEST_RECORD:
                yield Frame(self._place(), damage="quarantine_too_large", lost=end)
                self._skip = end
                continue
            if len(self.data) < end:
                if not ended:
                    return
                yield self._give_up(ended, head)
                continue
            after = bytes(self.data[end : end + 64]).lstrip(b"\r\n")
            if not after and not ended and len(self.data) < end + 64:
                return
            if after and after[:5] != MARK[: len(after)]:
                yield self._give_up("quarantine_wrong_length", head)
                continue
            if after and len(after) < len(MARK) and not ended:
                return
            with memoryview(self.data) as view:
                data = bytes(view[:end])
            yield Frame(self._place(), data)
            self._drop(end)
        if ended:
            yield from self._report("quarantine_garbage")

    def _give_up(self, reason: str, head: int) -> Frame:
        """Leave the record at the buffer's begin; go on at the next one's header, if one is in the buffer."""
        place, following = self._place(), self.data.find(NEXT, max(head, 1))
        if following >= 0 and reason == "quarantine_truncated":
            reason = "quarantine_wrong_length"
        lost = following + 1 if following >= 0 else len(self.data)
        self._drop(lost)
        return Frame(place, damage=reason, lost=lost)

    def _resume_after_garbage(self, ended: bool) -> bool:
        """Drop bytes up to the next record's header; False when more bytes are needed to see one."""
        following = self.data.find(NEXT)
        lost = following + 1 if following >= 0 else len(self.data) if ended else max(len(self.data) - len(NEXT), 0)
        if lost:
            if not self._damage:
                self._damage = [self._place(), 0]
            self._damage[1] += lost
            self._drop(lost)
        return following >= 0 or ended

    def _report(self, reason: str) -> Iterator[Frame]:
        if self._damage:
            yield Frame(self._damage[0], damage=reason, lost=self._damage[1])
            self._damage = []

    def _drop_skipped(self, ended: bool) -> bool:
        """Drop bytes of a record that is too large, up to its end or a header that shows its length wrong."""
        following = self.data.find(NEXT, 1)
        reach = min(self._skip, len(self.data))
        if 0 <= following < reach:
            self._drop(following + 1)
            self._skip = 0
            return True
        keep = 0 if ended or reach == self._skip else len(NEXT)
        self._drop(max(reach - keep, 0))
        self._skip -= max(reach - keep, 0)
        if ended:
            self._skip = 0
        return self._skip == 0

    def _drop(self, size: int) -> None:
        if size:
            del self.data[:size]
            self._position += size
            self._header = None

    def _place(self) -> int:
        """Place in the file of the buffer's begin: its gzip member's, plus how far into it the record begins."""
        while len(self._marks) > 1 and self._marks[1][0] <= self._position:
            self._marks.popleft()
        return self._marks[0][1] + self._position - self._marks[0][0] if self._marks else 0


def _gzip_frames(stream: IO[bytes], cutter: _Cutter) -> Iterator[Frame]:
    """Inflate member by member. A member that begins with a header ends the record before it; so does damage."""
    raw, place = bytearray(), 0  # compressed bytes ahead, and where they lie in the file
    while True:
        if len(raw) < len(GZIP_MAGIC):
            raw += stream.read(CHUNK_BYTES)
        if not raw:
            break
        if not raw.startswith(GZIP_MAGIC):
            lost = _next_member(raw, stream)
            if bytes(raw[:lost]).strip(b"\0"):  # padding with zeros is no damage
                yield from cutter.cut("quarantine_truncated")
                clipped = GZIP_MAGIC.startswith(bytes(raw[:lost]))
                yield Frame(place, damage="quarantine_truncated" if clipped else "quarantine_garbage", lost=lost)
            del raw[:lost]
            place += lost
            continue
        inflate, begin, first = zlib.decompressobj(31), place, True
        mark_now = True
        try:
            while not inflate.eof:
                if not raw:
                    raw += stream.read(CHUNK_BYTES)
                    if not raw:
                        raise EOFError
                piece = inflate.decompress(bytes(raw), CHUNK_BYTES * 64)
                rest = inflate.unconsumed_tail or inflate.unused_data
                place += len(raw) - len(rest)
                raw[:] = rest
                if first and piece:
                    first = False
                    if piece.startswith(MARK):
                        yield from cutter.cut("quarantine_wrong_length")
                if mark_now and piece:
                    cutter.mark(begin)
                    mark_now = False
                cutter.data += piece
                yield from cutter.cut()
                yield from _bomb(cutter, place)
        except _BombError:
            return
        except EOFError:
            if mark_now:
                cutter.mark(begin)
            frames = list(cutter.cut("quarantine_truncated"))  # only the member's checksum may be missing
            yield from frames or [Frame(begin, damage="quarantine_truncated", lost=place - begin)]
        except zlib.error:
            # Where in the stream it broke is not known: search from just behind this member's begin.
            raw, place = _rewind(stream, begin + 1)
            lost = _next_member(raw, stream)
            del raw[:lost]
            place += lost
            yield from _end_damaged(cutter, begin, "quarantine_gzip", lost + 1)
    yield from cutter.cut("quarantine_truncated")


def _end_damaged(cutter: _Cutter, begin: int, reason: str, lost: int) -> Iterator[Frame]:
    """Give up the record under way, once; where none was under way the member itself is the damage."""
    reported = False
    for frame in cutter.cut(reason):
        reported = reported or frame.damage is not None
        yield frame
    if not reported:
        yield Frame(begin, damage=reason, lost=lost)


def _next_member(raw: bytearray, stream: IO[bytes]) -> int:
    """Number of bytes in `raw` (read on as needed) before the next gzip member that begins a record."""
    start = 0
    while True:
        found = raw.find(GZIP_MAGIC, start)
        if found >= 0 and len(raw) - found < 1024 and (more := stream.read(CHUNK_BYTES)):
            raw += more
            continue
        if found >= 0:
            try:
                if zlib.decompressobj(31).decompress(bytes(raw[found : found + 1024]), 5) == MARK:
                    return found
            except zlib.error:
                pass
            start = found + 1
            continue
        more = stream.read(CHUNK_BYTES)
        if not more:
            return len(raw)
        start = max(len(raw) - len(GZIP_MAGIC) + 1, 0)
        raw += more


def _rewind(stream: IO[bytes], place: int) -> tuple[bytearray, int]:
    stream.seek(place)
    return bytearray(stream.read(CHUNK_BYTES)), place


def _zstd_frames(stream: IO[bytes], cutter: _Cutter) -> Iterator[Frame]:
    """Records of a `.warc.zst` file; offsets are those of the inflated bytes.

    The first frame may be a dictionary, itself compressed or not (iipc's WARC-zstd specification). What follows a
    broken frame cannot be found again: it is reported as one damage.
    """
    dictionary = None
    try:
        if _peek(stream, 4) == ZSTD_DICTIONARY:
            (size,) = struct.unpack("<4xI", stream.read(8))
            data = stream.read(min(size, LARGEST_RECORD))
            if data[:4] == ZSTD_MAGIC:
                data = inflate_zstd(data, LARGEST_RECORD)
            dictionary = zstandard.ZstdCompressionDict(data)
        inflater = zstandard.ZstdDecompressor(dictionary, max_window_size=MAX_WINDOW_BYTES)
        place, chunk = stream.tell(), b""
        while chunk := chunk or stream.read(ZSTD_PIECE_BYTES):
            cutter.mark(place)
            frame = inflater.decompressobj()
            while chunk and not frame.eof:
                place += len(chunk)
                cutter.data += frame.decompress(chunk)
                yield from cutter.cut()
                yield from _bomb(cutter, place)
                chunk = frame.unused_data if frame.eof else stream.read(ZSTD_PIECE_BYTES)
            place -= len(chunk)
    except _BombError:
        return
    except (zstandard.ZstdError, struct.error, ValueError):
        yield from cutter.cut("quarantine_zstd")
        yield Frame(stream.tell(), damage="quarantine_zstd")
        return
    yield from cutter.cut("quarantine_truncated")


def inflate_zstd(data: bytes, max_bytes: int) -> bytes:
    """The bytes of one zstd frame, fed in small pieces, because a piece is inflated whole (4 bytes become 128 KB).

    Raises zstandard.ZstdError, also beyond `max_bytes`. A frame that is cut short gives what it has.
    """
    frame = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
    found = bytearray()
    for start in range(0, len(data), ZSTD_PIECE_BYTES):
        found += frame.decompress(data[start : start + ZSTD_PIECE_BYTES])
        if len(found) > max_bytes:
            raise zstandard.ZstdError(f"more than {max_bytes} bytes")
        if frame.eof:
            break
    return bytes(found)


class _BombError(Exception):
    """The file inflates too much to be read on."""


def _bomb(cutter: _Cutter, read: int) -> Iterator[Frame]:
    """Report a file of which `read` compressed bytes became MAX_RATIO times as many, and stop reading it."""
    inflated = cutter.inflated
    if inflated > RATIO_COUNTS_FROM and inflated > MAX_RATIO * max(read, 1):
        yield Frame(read, damage="quarantine_decompression_bomb", lost=inflated)
        raise _BombError


def _peek(stream: IO[bytes], size: int) -> bytes:
    begin = stream.read(size)
    stream.seek(0)
    return begin
