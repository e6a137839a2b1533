"""Where a download lies in the cache: by its host and path, and never outside the cache folder.

An address is a stranger's text. Its path may hold `..`, `//`, backslashes, control characters, names of thousands of
bytes and names that begin with a dot, which the cache itself uses beside a file (locks, notes, partial files). What is
no plain name is written with percent signs, what is too long ends in a hash. Passwords and tokens are left out; a hash
keeps addresses apart that differ in them alone.
"""

import os
from pathlib import Path
from urllib.parse import quote, urlsplit

from llm_core.errors import UserError
from llm_core.runtime.digests import short_hash
from llm_core.runtime.redaction import redact

MAX_NAME_BYTES = 180  # of one name; file systems allow 255, and `.NAME.partial.etag` must fit too
MAX_PATH_BYTES = 1000


def cache_path(cache: Path, address: str) -> Path:
    """The file in the folder `cache` for an address. Raises UserError where the address has no readable host."""
    shown = redact(address)
    try:
        parts = urlsplit(shown)
        host = (parts.hostname or "") + (f"_{parts.port}" if parts.port else "")
    except ValueError as error:
        raise UserError(f"{shown}: not an address ({error})") from None
    if parts.scheme not in ("http", "https"):
        host = f"{parts.scheme}_{host}"
    below = quote(parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else ""), safe="/=&.,-_", errors="replace")
    names = [_plain(name) for name in below.split("/")]
    if sum(map(len, names)) > MAX_PATH_BYTES:
        names = [f"{names[0][:40]}-{short_hash(shown)}"]
    if shown != address:
        names.insert(0, short_hash(address)[:12])
    path = cache / "files" / _plain(quote(host.lower(), safe=".-_")) / "/".join(names)
    if not Path(os.path.normpath(path)).is_relative_to(os.path.normpath(cache / "files")):
        raise UserError(f"{shown}: would be stored outside the cache; refused")  # by the lines above, it never is
    return path


def _plain(name: str) -> str:
    """One name of a path: neither empty, nor begun with a dot, nor too long."""
    if not name:
        return "%"
    if name.startswith("."):
        name = f"%2E{name[1:]}"
    return name if len(name) <= MAX_NAME_BYTES else f"{name[: MAX_NAME_BYTES - 33]}-{short_hash(name)}"
