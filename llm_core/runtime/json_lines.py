"""JSON lines: the one reader and the one writer of the project.

A line ends at LF or CR LF and nowhere else. `str.splitlines` also splits at U+2028, U+2029 and U+0085, which JSON
strings may hold, so it is never used on a file's content; the writer escapes these three characters all the same,
because readers outside the project may use it. A byte order mark before the first line is no part of it.

Nesting is bounded: JSON parsers recurse, and a line nested some thousand levels deep overflows the stack of a parser
written in C. Half a surrogate pair (`"\\ud800"`), which JSON can name and UTF-8 cannot hold, is refused by name.
"""

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.runtime.inputs import MAX_RATIO, open_input
from llm_core.runtime.storage import output_file

MAX_DEPTH = 100  # levels of lists and objects
MAX_LINE_BYTES = 64 << 20  # parsing holds a line up to six times
MARK = b"\xef\xbb\xbf"
TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)  # a whole string, or one bracket
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
SPLIT_ELSEWHERE = str.maketrans({"\u0085": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})


class JsonLineError(ValueError):
    """A line is not usable JSON. `reason` is its name for a ledger, the message says what is wrong."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        """How it travels from a worker process."""
        return type(self), (self.reason, str(self))


class TooLong(int):
    """Stands for a line of more bytes than may be held: its length."""


def is_too_deep(line: bytes) -> bool:
    """Whether lists and objects nest deeper than MAX_DEPTH levels; the line need not be valid JSON."""
    if line.count(b"[") + line.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for token in TOKEN.finditer(line):
        first = line[token.start()]
        if first in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif first in b"]}":
            depth -= 1
    return False


def parse(line: bytes | str) -> Any:
    """The value in a line. NaN and Infinity are read, as Python writes them.

    Raises JsonLineError: `no_json`, `too_deep` or `half_surrogate`.
    """
    data = line.encode("utf-8", "surrogatepass") if isinstance(line, str) else line
    if is_too_deep(data):
        raise JsonLineError("too_deep", f"nested deeper than {MAX_DEPTH} levels")
    try:
        value = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise JsonLineError("no_json", f"not UTF-8 (byte {error.start + 1})") from None
    except (ValueError, RecursionError) as error:
        raise JsonLineError("no_json", f"not valid JSON ({error})") from None
    if SURROGATE.search(data):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise JsonLineError("half_surrogate", "half of a surrogate pair, which is no character") from None
    return value


def text_lines(text: str) -> list[str]:
    """The lines of a text that was read already, without their ends (LF or CR LF)."""
    lines = text.removeprefix("\ufeff").split("\n")
    return [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]


def raw_lines(
    file: str | Path, name: str | None = None, max_bytes: int = MAX_LINE_BYTES, max_ratio: float = MAX_RATIO
) -> Iterator[bytes | TooLong]:
    """Stream a file's lines, ends included, decompressed by its ending; a TooLong replaces one over `max_bytes`.

    `name` is the name whose ending counts and that errors give, where the file itself lies under another.
    Raises BrokenInputError (a UserError) on a truncated, broken or changing file, at the place where that shows.
    """
    with open_input(file, name, max_ratio) as stream:
        first = True
        while line := stream.readline(max_bytes + 1):
            if first:
                line, first = line.removeprefix(MARK), False
            if len(line) <= max_bytes:
                yield line
                continue
            size = len(line)
            while not line.endswith(b"\n") and (line := stream.readline(max_bytes)):
                size += len(line)
            yield TooLong(size)


def read_lines(file: str | Path, max_bytes: int = MAX_LINE_BYTES) -> Iterator[bytes]:
    """Stream a file's lines, ends included, decompressed by its ending.

    Raises UserError on a truncated, broken or changing file, and on a line of more than `max_bytes`.
    """
    for number, line in enumerate(raw_lines(file, max_bytes=max_bytes), start=1):
        if isinstance(line, TooLong):
            raise UserError(f"{file}:{number}: a line of {line} bytes; at most {max_bytes} are read")
        yield line


def read_rows(file: str | Path, cut_short: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream (line number from 1, object) of a file of JSON objects; blank lines hold none.

    `cut_short` passes over lines that are no JSON: of a log whose writer may have been killed.
    Raises UserError, with file and line, where there is no such file or a line is no JSON object.
    """
    try:
        for number, line in enumerate(read_lines(file), start=1):
            if not line.strip():
                continue
            try:
                row = parse(line)
            except JsonLineError as error:
                if cut_short:
                    continue
                raise UserError(f"{file}:{number}: {error}") from None
            if not isinstance(row, dict):
                raise UserError(f"{file}:{number}: a JSON object is needed")
            yield number, row
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None


def load_rows(file: str | Path, missing_ok: bool = False, cut_short: bool = False) -> list[dict[str, Any]]:
    """All objects of a file; with `missing_ok`, [] where there is no file. Otherwise as `read_rows`."""
    if missing_ok and not Path(file).exists():
        return []
    return [row for _, row in read_rows(file, cut_short)]


def dump(row: Any, sort_keys: bool = False) -> str:
    """`row` as one line of JSON with its line end. Raises UserError where a string holds half a surrogate pair."""
    text = json.dumps(row, sort_keys=sort_keys, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        near = text[max(error.start - 20, 0) : error.start].encode("ascii", "replace").decode()
        raise UserError(f"a row holds half of a surrogate pair, which cannot be written (behind {near!r})") from None
    return f"{text.translate(SPLIT_ELSEWHERE)}\n"


def write_rows(file: str | Path, rows: Iterable[Any], sort_keys: bool = False) -> None:
    """Write one object a line; the file appears whole or not at all."""
    with output_file(file) as stream:
        stream.writelines(dump(row, sort_keys) for row in rows)
