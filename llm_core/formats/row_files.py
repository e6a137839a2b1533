"""One file of rows: JSON lines, JSON, CSV, TSV, Parquet and CoNLL, each row with the place where it is.

A broken line is a row with the key `__error__`, so that a reader can count it or stop at it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.formats import conll, squad
from llm_core.formats.row_tables import read_table
from llm_core.runtime import json_lines

Row = dict[str, Any]
LINES = (".jsonl", ".ndjson", ".jsonl.gz", ".jsonl.zst")
ENDINGS = (*LINES, ".json", ".csv", ".tsv", ".parquet", *conll.ENDINGS)
SPLITS = {"train": "train", "training": "train", "validation": "heldout", "valid": "heldout", "val": "heldout",
          "dev": "heldout", "heldout": "heldout", "test": "test", "testing": "test", "eval": "test"}  # fmt: skip
"""Name of a split, as data sets call them -> the side that it is here."""


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
    """One JSON list of objects, an object with a list for each side, SQuAD's articles, or else JSON lines."""
    try:
        found = json_lines.parse(file.read_bytes().removeprefix(json_lines.MARK))
    except json_lines.JsonLineError:
        yield from _lines(file)
        return
    if isinstance(found, dict) and found and all(key in SPLITS and isinstance(found[key], list) for key in found):
        rows = [{**row, "split": key} if isinstance(row, dict) else row for key in found for row in found[key]]
    elif squad.is_article_file(found):
        rows = list(squad.flatten(found))
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
