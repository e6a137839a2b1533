"""Which files below a path a source reads, and why it does not read the others.

Nothing is passed over in silence: every file that is not read is counted under a reason. Links to folders are not
followed (they may lead round in circles); links to files are. FIFOs, sockets and devices are never opened.
"""

import os
import re
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

from llm_core.errors import UserError
from llm_core.runtime.inputs import irregular
from llm_core.runtime.storage import file_system, is_remote, require_writable_name

LONGEST_ENDING = 12
DUMP_PART = re.compile(r"(?<=\.xml)-p\d+p\d+")  # Wikipedia's `pages-articles1.xml-p1p41242.bz2` is an `.xml.bz2`


def survey(path: str, endings: tuple[str, ...]) -> tuple[list[str], Counter[str]]:
    """(files at `path` whose name ends in `endings`, in either case, sorted; counts of the others by reason).

    A file that is named itself is read or refused. Raises UserError: nothing there, no regular file, another ending.
    """
    require_writable_name(path)
    if is_remote(path):
        return _remote(path, endings)
    if not os.path.lexists(path) or not Path(path).exists():
        raise UserError(f"{path}: no such file or folder")
    if not Path(path).is_dir():
        kind = irregular(path)
        if kind:
            raise UserError(f"{path}: is {kind}, not a file; give regular files")
        if not _fits(path, endings):
            raise UserError(f"{path}: files of this kind are not read (those that are: {', '.join(endings)})")
        return [path], Counter()
    found: list[str] = []
    others: Counter[str] = Counter()
    _walk(Path(path), endings, False, found, others)
    return sorted(found), others


def ending_of(name: str) -> str:
    """The name's ending for a count: `.pdf`, in lower case; `none` where it has none."""
    ending = Path(urlsplit(name).path if is_remote(name) else name).suffix.lower()
    return ending if 1 < len(ending) <= LONGEST_ENDING and ending.isascii() and ending.isprintable() else "none"


def fits(name: str, endings: tuple[str, ...]) -> bool:
    """Whether the name of a file or address ends in one of `endings`, in either case."""
    return _fits(urlsplit(name).path if is_remote(name) else name, endings)


def _fits(name: str, endings: tuple[str, ...]) -> bool:
    return DUMP_PART.sub("", name.lower()).endswith(endings)


def _walk(folder: Path, endings: tuple[str, ...], hidden: bool, found: list[str], others: Counter[str]) -> None:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        others["unreadable_folder"] += 1
        return
    for entry in entries:
        below_hidden = hidden or entry.name.startswith((".", "_"))
        if entry.is_dir(follow_symlinks=False):
            _walk(folder / entry.name, endings, below_hidden, found, others)
        elif Path(entry.path).is_dir():  # `entry.is_dir()` raises where a link leads back to itself
            others["linked_folder"] += 1
        elif not Path(entry.path).is_file():
            others["broken_link" if entry.is_symlink() and not Path(entry.path).exists() else "no_regular_file"] += 1
        elif not _is_utf8(entry.path):
            others["name_not_utf8"] += 1
        elif below_hidden:
            others["hidden_name"] += 1
        elif not _fits(entry.name, endings):
            others[f"other_ending {ending_of(entry.name)}"] += 1
        else:
            found.append(str(folder / entry.name))


def _remote(path: str, endings: tuple[str, ...]) -> tuple[list[str], Counter[str]]:
    filesystem, root = file_system(path)
    if filesystem.isfile(root):
        return [path], Counter()
    if not filesystem.isdir(root):
        raise UserError(f"{path}: no such file or folder")
    found: list[str] = []
    others: Counter[str] = Counter()
    for file in filesystem.find(root):
        below = os.path.relpath(file, root)
        if any(part.startswith((".", "_")) for part in Path(below).parts):
            others["hidden_name"] += 1
        elif not _fits(file, endings):
            others[f"other_ending {ending_of(file)}"] += 1
        else:
            found.append(filesystem.unstrip_protocol(file))
    return sorted(found), others


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
