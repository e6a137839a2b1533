"""Files of rows: JSON lines, JSON, CSV, TSV, Parquet, CoNLL; each row with its place and the side its file names.

A data set's own split is in its names: `train.jsonl`, `test/part-0.csv`, `validation-00000-of-00001.parquet`. Hidden
files and files of other kinds are counted, never read.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.runtime import json_lines
from llm_core.training.finetuning.data import conll
from llm_core.training.finetuning.data.tables import read_table

Row = dict[str, Any]
LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".jsonl.zst")
ENDINGS = (*LINES, ".json", ".csv", ".tsv", ".parquet", *conll.ENDINGS)
SPLITS = {"train": "train", "training": "train", "validation": "heldout", "valid": "heldout", "val": "heldout",
          "dev": "heldout", "heldout": "heldout", "test": "test", "testing": "test", "eval": "test"}  # fmt: skip
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


def read_file(file: Path) -> Iterator[tuple[str, Row]]:
    """(`file:line`, row) of one file, read by its ending. Raises UserError where it cannot be read at all."""
    name = file.name.lower()
    if name.endswith(".parquet"):
        yield from _parquet(file)
    elif name.endswith((".csv", ".tsv")) or "." not in name:
        yield from read_table(file)
    elif name.endswith(".json"):
        yield from _json(file)
    elif name.endswith(conll.ENDINGS):
        yield from conll.read_sentences(file)
    elif name.endswith(ENDINGS):
        yield from _lines(file)
    else:
        raise UserError(f"{file}: rows are read from {', '.join(ENDINGS)}")


def _lines(file: Path) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(json_lines.read_lines(file), 1):
        if line.strip():
            yield f"{file}:{number}", _parse(line)


def _parse(line: bytes) -> Row:
    try:
        row = json_lines.parse(line)
    except json_lines.JsonLineError as error:
        return {"__error__": str(error)}
    return row if isinstance(row, dict) else {"__error__": "not a JSON object"}


def _json(file: Path) -> Iterator[tuple[str, Row]]:
    """One JSON list of objects, an object with a list for each side, or, where the file is neither, JSON lines."""
    try:
        found = json_lines.parse(file.read_bytes().removeprefix(json_lines.MARK))
    except json_lines.JsonLineError:
        yield from _lines(file)
        return
    if isinstance(found, dict) and found and all(key in SPLITS and isinstance(found[key], list) for key in found):
        rows = [{**row, "split": key} if isinstance(row, dict) else row for key in found for row in found[key]]
    else:
        rows = found if isinstance(found, list) else [found]
    for number, row in enumerate(rows, 1):
        yield f"{file}: record {number}", row if isinstance(row, dict) else {"__error__": "not a JSON object"}


def _parquet(file: Path) -> Iterator[tuple[str, Row]]:
    from llm_core.formats.parquet import bounded_batches, open_parquet

    number = 0
    with open_parquet(file, dictionaries=True) as parquet:
        for batch in bounded_batches(parquet, str(file)):
            for row in batch.to_pylist():
                number += 1
                yield f"{file}: row {number}", row
