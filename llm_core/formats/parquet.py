"""Opening Parquet files so that reading one holds little of it in memory."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from llm_core.errors import UserError

READ_BYTES = 1 << 20


@contextmanager
def open_parquet(file: str) -> Iterator[pq.ParquetFile]:
    """The Parquet file at a path or address. Raises UserError where it cannot be read, in the block too.

    Arrow's default holds the compressed bytes of all row groups asked for; a local file needs no reading ahead.
    """
    filesystem, root = url_to_fs(file)
    local = isinstance(filesystem, LocalFileSystem)
    try:
        with filesystem.open(root) as stream:
            yield pq.ParquetFile(stream, pre_buffer=not local, buffer_size=READ_BYTES if local else 0)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{file}: cannot be read as Parquet ({str(error).splitlines()[0]})") from None
