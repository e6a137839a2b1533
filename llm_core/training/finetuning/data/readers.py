"""Files of rows: JSON lines, JSON, CSV, TSV and Parquet; each row with its place and the side in its file's name.

A data set's own split is in its names: `train.jsonl`, `test/part-0.csv`, `validation-00000-of-00001.parquet`. Hidden
files and files of other kinds are counted, never read.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.formats.row_files import ENDINGS, SPLITS, read_file

Row = dict[str, Any]
SEPARATORS = re.compile(r"[^a-z]+")


def split_named(name: str) -> str | None:
    """The side that a name states: `test-00000-of-00001.parquet` is test; None where it states none, or two."""
    sides = {SPLITS[part] for part in SEPARATORS.split(name.lower()) if part in SPLITS}
    return sides.pop() if len(sides) == 1 else None


def side_of(file: Path, source: Path) -> str | None:
    """The side of a file in a data set's folder: its own name's, else that of the nearest folder that states one."""
    return next((side for part in reversed(file.relative_to(source).parts) if (side := split_named(part))), None)


def read_files(source: str, counts: Counter[str]) -> Iterator[tuple[str, str | None, Row]]:
    """(`file:line`, side or None, row) of a file or of every data file in a folder, by name.

    A broken line is a row with the key `__error__`. Files that are not read are counted in `counts`.
    """
    path = Path(source)
    if not path.is_dir():
        yield from ((place, None, row) for place, row in read_file(path))
        return
    found = 0
    for file in sorted(path.rglob("*")):
        if not file.is_file():
            continue
        if any(part.startswith(".") for part in file.relative_to(path).parts):
            counts["hidden_files"] += 1
        elif "." in file.name and not file.name.lower().endswith(ENDINGS):
            counts["files_of_other_kinds"] += 1
        else:
            found += 1
            side = side_of(file, path)
            yield from ((place, side, row) for place, row in read_file(file))
    if not found:
        unread = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(counts.items()))
        raise UserError(
            f"{source}: no data file ({', '.join(ENDINGS)}) in this folder" + (f"; {unread}" if unread else "")
        )
