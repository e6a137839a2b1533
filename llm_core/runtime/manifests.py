"""The manifest of a folder whose shards are on object storage.

A folder of shards (`documents/`, `ledger/`, `train/`, …) contains either the shards themselves or one file, MANIFEST,
that lists them: name, address, size and SHA-256. Every reader opens both alike, because the shards keep their paths:
`data/raw/web/documents/00000.parquet` names a shard wherever its bytes are (`llm_core.runtime.object_cache` fetches
them). So ledgers, messages and the bytes of later stages do not depend on where a shard is.

The same shards at the same storage give the same bytes of the manifest, whoever wrote it. An object is named by its
content, `STORAGE/ab/abcd….parquet`, and a manifest whose addresses say anything else is refused.
"""

import json
import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.runtime.addresses import is_remote
from llm_core.runtime.redaction import redact

MANIFEST = "_manifest.json"  # readers of data folders leave out names that begin with an underscore
ABOUT = "the shards of this folder, on object storage; llm-core reads them as if they were here"
SHARDS = (".parquet", ".arrow")  # endings of the files that go to object storage
OBJECT = re.compile(r"(?P<two>[0-9a-f]{2})/(?P<sha256>(?P=two)[0-9a-f]{62})\.(parquet|arrow)")


@dataclass(frozen=True)
class Shard:
    """A file on object storage."""

    name: str
    """Its name in the folder."""
    address: str
    bytes: int
    sha256: str


def object_name(sha256: str, ending: str) -> str:
    """The path below a storage of the object with this content."""
    return f"{sha256[:2]}/{sha256}{ending}"


def write_manifest(folder: Path, shards: list[Shard]) -> None:
    """Write the manifest of a folder, sorted by the names of the shards."""
    rows = [asdict(shard) for shard in sorted(shards, key=lambda shard: shard.name)]
    text = json.dumps({"about": ABOUT, "shards": rows}, indent=1, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: str | Path) -> dict[str, Shard]:
    """The shards of a local folder's manifest by their names, sorted; empty where it has no manifest.

    Raises UserError where the manifest is broken.
    """
    file = Path(folder) / MANIFEST
    try:
        status = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return _read(file, (status.st_ino, status.st_size, status.st_mtime_ns))


def parse_manifest(text: str, file: str | Path) -> dict[str, Shard]:
    """The shards of a manifest's text; `file` is what errors name."""
    try:
        shards = [_shard(row) for row in json.loads(text)["shards"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"{file}: is no manifest of shards ({redact(str(error))}); run its stage again") from None
    return {shard.name: shard for shard in sorted(shards, key=lambda shard: shard.name)}


def find_shard(path: str | Path) -> Shard | None:
    """The shard that a local path names, by the manifest beside it; None where no manifest lists it."""
    if is_remote(path):
        return None
    path = Path(path)
    return read_manifest(path.parent).get(path.name)


def _shard(row: dict[str, Any]) -> Shard:
    shard = Shard(**row)
    if Path(shard.name).name != shard.name or not shard.name.endswith(SHARDS) or type(shard.bytes) is not int:
        raise ValueError(f"{shard.name!r} is no shard")
    expected = f"/{object_name(shard.sha256, Path(shard.name).suffix)}"
    if not is_remote(shard.address) or not shard.address.endswith(expected) or not OBJECT.fullmatch(expected[1:]):
        raise ValueError(f"the address of {shard.name} does not end in {expected}")
    return shard


@lru_cache(maxsize=256)
def _read(file: Path, state: tuple[int, int, int]) -> dict[str, Shard]:
    return parse_manifest(file.read_text(encoding="utf-8"), file)
