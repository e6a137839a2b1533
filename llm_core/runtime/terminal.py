"""What a terminal may be given: text of data or models, without the characters that command a terminal."""

import re

# C0 and C1 control characters but tab and newline, and the marks that reorder text (Unicode TR 9: bidirectional).
COMMANDS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def printable(text: object, lines: bool = True) -> str:
    """`text` with each terminal command shown as `\\x1b` or `\\u202e`; without `lines`, on one line.

    >>> printable("a\\x1b[31mb")
    'a\\\\x1b[31mb'
    """
    shown = COMMANDS.sub(_shown, str(text).replace("\r\n", "\n"))
    return shown if lines else " ".join(shown.split())


def _shown(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
