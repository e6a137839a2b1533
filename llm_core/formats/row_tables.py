"""CSV and TSV as spreadsheets and pandas write them: byte order marks, quotes, long cells."""

import csv
import io
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.errors import UserError

MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
csv.field_size_limit(
    min(sys.maxsize, 2**31 - 1)
)  # the library's default limit of 131,072 characters refuses a long document


def read_table(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`file:line`, row by column name) of a table; a row of another length has the key `__error__`.

    A file without an ending is a headerless `label<TAB>text` file (the SMS Spam Collection), in which quotes are text.
    In TSV, quotes are the format's where the whole file reads so, and text otherwise.
    """
    data = file.read_bytes()
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
    try:
        content = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not {encoding} (byte {error.start + 1}); save the table as UTF-8") from None
    if "." not in file.name:
        yield from _rows(file, content, ["label", "text"], {"delimiter": "\t", "quoting": csv.QUOTE_NONE})
        return
    style: dict[str, Any] = {"delimiter": _delimiter(file, content), "strict": True}
    if style["delimiter"] == "\t" and not _quoted(content):
        style["quoting"] = csv.QUOTE_NONE
    yield from _rows(file, content, None, style)


def _delimiter(file: Path, content: str) -> str:
    """A tab in .tsv; in .csv a comma, or the separator of a header without commas (Excel's semicolon or tab)."""
    header = content.split("\n", 1)[0]
    if file.name.lower().endswith(".tsv"):
        return "\t"
    return "," if "," in header else next((mark for mark in ";\t" if mark in header), ",")


def _quoted(content: str) -> bool:
    """Whether a TSV is valid with quotes as part of the format: no quote out of place, every row as long as the header.

    Where it also reads with quotes as text, quoted fields must not join lines: two texts that begin and end with a
    quote would become one.
    """
    try:
        quoted, plain = (
            [len(row) for row in csv.reader(io.StringIO(content, newline=""), delimiter="\t", strict=True, quoting=way)]
            for way in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE)
        )
    except csv.Error:
        return False
    return len(set(quoted)) == 1 and (len(quoted) == len(plain) or len(set(plain)) > 1)


def _rows(
    file: Path, content: str, header: list[str] | None, style: dict[str, Any]
) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(content, newline=""), **style)
    try:
        names = [name.strip() for name in next(reader, [])] if header is None else header
        if twice := [name for name, count in Counter(names).items() if count > 1]:
            raise UserError(f"{file}: the header has the column '{twice[0]}' twice; rename one")
        for values in reader:
            if not values:
                continue
            place = f"{file}:{reader.line_num}"
            if len(values) == len(names):
                yield place, dict(zip(names, values, strict=True))
            else:
                yield place, {"__error__": f"{len(values)} fields where the header has {len(names)}"}
    except csv.Error as error:
        raise UserError(f"{file}:{reader.line_num}: cannot be read as a table ({error})") from None
