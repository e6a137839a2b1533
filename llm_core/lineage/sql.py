"""Paths as DuckDB's SQL needs them: a folder's name may hold quotes, backslashes and the signs of a pattern.

`read_parquet` takes its paths as patterns: of two folders `data[1]` and `data1`, the first would read the second.
"""

import glob
from collections.abc import Iterable
from pathlib import Path

from llm_core.runtime.storage import is_remote


def quoted(text: str | Path) -> str:
    """A literal of SQL.

    >>> quoted("it's")
    "'it''s'"
    """
    return "'" + str(text).replace("'", "''") + "'"


def files(paths: Iterable[str | Path]) -> str:
    """A list of exactly these files, for `read_parquet` and `parquet_metadata`."""
    return f"[{', '.join(quoted(path if is_remote(path) else glob.escape(str(path))) for path in paths)}]"


def parquet(paths: Iterable[str | Path]) -> str:
    """A table of the rows of these Parquet files."""
    return f"read_parquet({files(paths)})"
