"""What a Parquet footer says of its row groups, read without Arrow's own view of a column.

`pyarrow`'s `RowGroupMetaData.column` ends the whole process where a damaged footer contradicts itself (a histogram of
the wrong length, a column that is said to be encrypted): the C++ exception is caught nowhere. So the few fields that
are needed are read here from the footer's bytes, which are Thrift's compact protocol. Field numbers are those of
parquet.thrift: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

import io
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import IO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

MAGIC_BYTES, TAIL_BYTES = 4, 8  # "PAR1" before the footer; its length and "PAR1" behind it
TRUE, FALSE, BYTE, SHORT, INT, LONG, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
BYTE_ARRAY = 6  # type of a column
DICTIONARY_ENCODINGS = {2, 8}  # PLAIN_DICTIONARY, RLE_DICTIONARY
MAX_DEPTH = 32
VARINT_BITS = 70  # ten bytes, as for 64 bits
HEADER_BYTES, MAX_HEADER_BYTES = 1 << 12, 1 << 24  # of a page; it holds the smallest and largest value of the page
MAX_PAGE_BYTES = 1 << 30  # decoded; writers make pages of about 1 MB, and one value alone may be a page
REMEMBERED = 4  # footers, which are asked for a few times a file


class Chunk(NamedTuple):
    """One column of one row group: its compressed bytes, whether some page uses a dictionary, where its pages begin,
    and whether its values are strings of bytes."""

    compressed: int
    dictionary: bool
    start: int = 0
    strings: bool = False


class RowGroup(NamedTuple):
    """Rows, decoded bytes by the footer's word, and the columns in the schema's order."""

    rows: int
    decoded: int
    columns: list[Chunk]


def row_groups(footer: pq.FileMetaData) -> list[RowGroup]:
    """The row groups of a footer. Raises pyarrow.ArrowInvalid where its bytes do not hold what they should."""
    sink = io.BytesIO()
    footer.write_metadata_file(sink)
    file = sink.getvalue()
    digest = blake2b(file, digest_size=16).digest()
    found = _known.get(digest)
    if found is None:
        found = _known[digest] = _row_groups(file)
        for oldest in list(_known)[:-REMEMBERED]:
            _known.pop(oldest, None)  # another thread may have done it
    return found


_known: dict[bytes, list[RowGroup]] = {}  # by the digest of the footer


def _row_groups(file: bytes) -> list[RowGroup]:
    reader = _Reader(file[MAGIC_BYTES:-TAIL_BYTES])
    found: list[RowGroup] = []
    try:
        for field, kind in reader.fields():
            if field == 4 and kind == LIST:
                found = [_row_group(reader) for _ in reader.items(STRUCT)]
            else:
                reader.skip(kind)
    except (IndexError, RecursionError):
        raise pa.ArrowInvalid("the footer ends early") from None
    return found


def _row_group(reader: "_Reader") -> RowGroup:
    rows = decoded = 0
    columns: list[Chunk] = []
    for field, kind in reader.fields():
        if field == 1 and kind == LIST:
            columns = [_chunk(reader) for _ in reader.items(STRUCT)]
        elif field == 2 and kind == LONG:
            decoded = reader.integer()
        elif field == 3 and kind == LONG:
            rows = reader.integer()
        else:
            reader.skip(kind)
    return RowGroup(rows, decoded, columns)


def _chunk(reader: "_Reader") -> Chunk:
    found = Chunk(0, False)
    for field, kind in reader.fields():
        if field == 3 and kind == STRUCT:
            found = _column(reader)
        else:
            reader.skip(kind)
    return found


def _column(reader: "_Reader") -> Chunk:
    compressed, dictionary, starts, strings = 0, False, [], False
    for field, kind in reader.fields():
        if field == 1 and kind == INT:
            strings = reader.integer() == BYTE_ARRAY
        elif field == 2 and kind == LIST:
            encodings = {reader.integer() for _ in reader.items(INT)}
            dictionary = bool(encodings & DICTIONARY_ENCODINGS)
        elif field == 7 and kind == LONG:
            compressed = reader.integer()
        elif field in (9, 11) and kind == LONG:  # the first page of data, and the dictionary's
            starts.append(reader.integer())
        else:
            reader.skip(kind)
    return Chunk(compressed, dictionary, min((start for start in starts if start > 0), default=0), strings)


def check_pages(stream: IO[bytes], footer: pq.FileMetaData, groups: Sequence[int] | None = None) -> None:
    """Raise pyarrow.ArrowInvalid where a page claims to be longer than its column, or to inflate beyond MAX_PAGE_BYTES.

    Arrow allots what a page's header claims, up to 2 GB, before it reads the page. `stream` is left where it was.
    Without `groups` the pages of all row groups are looked at.
    """
    before, found = stream.tell(), row_groups(footer)
    try:
        for group in range(len(found)) if groups is None else groups:
            rows, _, columns = found[group]
            for number, chunk in enumerate(columns):
                place, end = chunk.start, chunk.start + chunk.compressed
                while rows and place < end:
                    header, compressed, decoded = _page(stream, place, end)
                    if not (0 <= compressed <= end - place - header and 0 <= decoded <= MAX_PAGE_BYTES):
                        where = f"row group {group}, column {number}"
                        raise pa.ArrowInvalid(f"{where}: a page claims {compressed} bytes that become {decoded}")
                    place += header + compressed
    finally:
        stream.seek(before)


def _page(stream: IO[bytes], place: int, end: int) -> tuple[int, int, int]:
    """Bytes of a page's header, and what it says of the page: compressed and decoded bytes."""
    size = HEADER_BYTES
    while True:
        stream.seek(place)
        data = stream.read(min(size, end - place))
        reader, decoded, compressed = _Reader(data), 0, 0
        try:
            for field, kind in reader.fields():
                if field in (2, 3) and kind == INT:
                    value = reader.integer()
                    decoded, compressed = (value, compressed) if field == 2 else (decoded, value)
                else:
                    reader.skip(kind)
            if reader.place <= len(data):
                return reader.place, compressed, decoded
        except (IndexError, RecursionError):
            pass
        if size >= MAX_HEADER_BYTES or len(data) < size:
            raise pa.ArrowInvalid("a page's header is damaged")
        size *= 16


class _Reader:
    """Thrift's compact protocol, as far as a reader needs it that skips most of what it meets."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def fields(self) -> Iterator[tuple[int, int]]:
        """(number, type) of each field of a struct; the caller reads or skips its value before the next."""
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self.integer()
            yield number, head & 15

    def items(self, wanted: int) -> range:
        """The places of a list of `wanted`; the caller reads as many values."""
        size, kind = self._list()
        if kind != wanted and size:
            raise pa.ArrowInvalid(f"the footer has a list of type {kind} where {wanted} is due")
        return range(size)

    def integer(self) -> int:
        """A whole number of any width."""
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def skip(self, kind: int, depth: int = 0) -> None:
        """Leave out a value of a type.

        Type 0, which ends a struct, is none: a list of a billion of them would take no byte, and hours.
        """
        if depth > MAX_DEPTH or not 0 < kind <= STRUCT:
            raise pa.ArrowInvalid("the footer is damaged")
        if kind in (SHORT, INT, LONG):
            self._varint()
        elif kind == BYTE:
            self._byte()
        elif kind in (DOUBLE, BINARY):
            size = 8 if kind == DOUBLE else self._varint()
            self.place += size
        elif kind in (LIST, SET):
            size, inner = self._list()
            for _ in range(size):
                self._skip_item(inner, depth)
        elif kind == MAP:
            size = self._varint()
            kinds = self._byte() if size else 0
            for _ in range(size):
                self._skip_item(kinds >> 4, depth)
                self._skip_item(kinds & 15, depth)
        elif kind == STRUCT:
            for _, inner in self.fields():
                self.skip(inner, depth + 1)

    def _skip_item(self, kind: int, depth: int) -> None:
        self.skip(BYTE if kind in (TRUE, FALSE) else kind, depth + 1)  # in a list a truth value takes a byte

    def _list(self) -> tuple[int, int]:
        head = self._byte()
        return (self._varint() if head >> 4 == 15 else head >> 4), head & 15

    def _varint(self) -> int:
        value = self.data[self.place]  # nearly all take one byte
        self.place += 1
        if value < 128:
            return value
        value &= 127
        for shift in range(7, VARINT_BITS, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise pa.ArrowInvalid("the footer is damaged")

    def _byte(self) -> int:
        byte = self.data[self.place]
        self.place += 1
        return byte
