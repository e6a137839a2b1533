"""Safe output on a terminal: text of data or models, without control characters.

Every verb prints through `say` and `say_json`, so that no title, address, reason or answer can move the cursor, change
the window or hide what it says, and none with a line break in it can look like a line of this program.
"""

import json
import re
import sys
from collections.abc import Iterable
from typing import Any

from llm_core.runtime.redaction import redact, redact_values

# C0 and C1 control characters but tab and newline, the marks that reorder text (Unicode TR 9: bidirectional), and lone
# surrogates, which no encoding writes.
COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: object, lines: bool = True) -> str:
    """`text` with each terminal command shown as `\\x1b` or `\\u202e`; without `lines`, on one line.

    >>> printable("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    shown = COMMANDS.sub(_shown, str(text).replace("\r\n", "\n"))
    return shown if lines else " ".join(shown.split())


def say(text: object = "", *, error: bool = False, end: str = "\n") -> None:
    """Print `text`, printable and without passwords in addresses, on standard output, or on standard error."""
    print(printable(redact(str(text))), end=end, file=sys.stderr if error else sys.stdout, flush=True)


def say_lines(lines: Iterable[object]) -> None:
    """Print each of `lines` on a line of its own; line breaks inside one are shown as spaces."""
    for line in lines:
        say(" ".join(str(line).splitlines()))


def say_table(rows: Iterable[tuple[object, object]]) -> None:
    """Print (name, text) in two columns, the text wrapped at the terminal's width, made safe as `say` does."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for row in rows:
        table.add_row(*(Text(printable(redact(str(cell)), lines=False)) for cell in row))
    Console(highlight=False).print(table)


def say_json(value: Any, indent: int | None = None) -> None:
    """Print `value`, without passwords in addresses, as JSON in which what commands a terminal is escaped."""
    text = json.dumps(redact_values(value), indent=indent, ensure_ascii=False)
    print(COMMANDS.sub(lambda match: f"\\u{ord(match[0]):04x}", text), flush=True)


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
