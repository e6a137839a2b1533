"""Writing a Parquet file in memory that does not grow with the number of its row groups.

Arrow's writer holds what the footer will say of each row group until the file is closed, some 10 KB for the twelve
columns of a ledger, and all of it twice while it is closed: 20 MB for a million rows. Here some row groups at a time
have a writer of their own, and what its footer says of them, a tenth as much, waits in an unnamed file. The result is
what one writer would have written, byte for byte.
"""

import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llm_core.formats.parquet_footer import MAGIC_BYTES, TAIL_BYTES, divide_footer, list_head, signed_number

MAGIC = b"PAR1"
GROUPS = 64  # of a writer
SKIPPED = bytes(1 << 16)


class ParquetShard:
    """Writes each table that it is given as a row group; `settings` are those of `pyarrow`'s ParquetWriter."""

    def __init__(self, path: Path, schema: pa.Schema, **settings: Any) -> None:
        self._schema, self._settings = schema, settings
        empty = pa.BufferOutputStream()
        self._new_writer(empty).close()
        self._before, self._between, self._after = divide_footer(empty.getvalue()[MAGIC_BYTES:-TAIL_BYTES].to_pybytes())
        self._file = open(path, "wb")  # noqa: SIM115 - closed by `close`
        self._file.write(MAGIC)
        self._footers = tempfile.TemporaryFile(dir=path.parent)  # noqa: SIM115 - closed by `close`
        self._sink = _Sink()
        self._writer: pq.ParquetWriter | None = None
        self._rows = self._groups = 0  # those whose footers are there
        self._new_rows = self._new_groups = 0  # those that the writer has

    def write_table(self, table: pa.Table) -> None:
        """Append a row group."""
        writer = self._writer or self._begin()
        writer.write_table(table, row_group_size=max(table.num_rows, 1))
        self._new_rows += table.num_rows
        self._new_groups += 1
        if self._new_groups == GROUPS:
            self._end()

    def close(self) -> None:
        """Write the footer."""
        self._end()
        start = self._file.tell()
        self._file.write(self._head(self._rows, self._groups))
        self._footers.seek(0)
        shutil.copyfileobj(self._footers, self._file)
        self._file.write(self._after)
        self._file.write((self._file.tell() - start).to_bytes(4, "little") + MAGIC)
        self._file.close()
        self._footers.close()

    def _new_writer(self, sink: pa.NativeFile) -> pq.ParquetWriter:
        return pq.ParquetWriter(sink, self._schema, **self._settings)

    def _head(self, rows: int, groups: int) -> bytes:
        """A footer up to its row groups."""
        return self._before + signed_number(rows) + self._between + list_head(groups)

    def _begin(self) -> pq.ParquetWriter:
        """Open a writer that goes on where the file ends.

        Arrow begins at the start of a file only, and counts what it writes: what comes before is written to nowhere.
        """
        self._sink.to = len
        file = pa.PythonFile(self._sink, mode="w")
        self._writer = self._new_writer(file)  # this writes the magic bytes
        left = self._file.tell() - MAGIC_BYTES
        while left:
            left -= file.write(SKIPPED[:left])
        self._sink.to = self._file.write
        return self._writer

    def _end(self) -> None:
        """Close the writer, if there is one, and keep what its footer says of its row groups."""
        if self._writer is None:
            return
        found = io.BytesIO()
        self._sink.to = found.write
        self._writer.close()
        footer = found.getvalue()[:-TAIL_BYTES]
        self._footers.write(footer[len(self._head(self._new_rows, self._new_groups)) : len(footer) - len(self._after)])
        self._rows, self._groups = self._rows + self._new_rows, self._groups + self._new_groups
        self._writer, self._new_rows, self._new_groups = None, 0, 0


class _Sink:
    """The file to which Arrow writes: it hands all on."""

    closed = False

    def __init__(self) -> None:
        self.to: Callable[[Any], int] = len

    def write(self, data: Any) -> int:
        return self.to(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass
