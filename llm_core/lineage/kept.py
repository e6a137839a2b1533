"""Earlier versions of a folder, from DVC's cache.

A model's record names the token shards, finetuning rows and parent it was made of by the
digest that dvc.lock has for them. When the folder has changed since, the version meant is
often still in the cache: `.dvc/cache/files/md5/ab/cdef….dir` lists its files by their own
digests. A folder of links to them is what the readers need. Nothing is copied, and DVC
itself is not imported: the layout is documented (https://dvc.org/doc/user-guide/project-structure/internal-files).
"""

import json
from pathlib import Path

from llm_core.runtime.digests import content_digest
from llm_core.runtime.storage import output_folder

CACHE = Path(".dvc/cache/files/md5")
SCRATCH = Path(".scratch/lineage/kept")


def version_of(path: Path, digest: str | None) -> Path | None:
    """`path` where its content has that digest (or none is asked for), else that version out of the cache; or None."""
    if path.exists() and (digest is None or content_digest(path) == digest):
        return path
    return kept_folder(digest) if digest else None


def kept_folder(digest: str, cache: Path = CACHE, scratch: Path = SCRATCH) -> Path | None:
    """A folder of links to the files that DVC keeps under `digest`; None when one of them is gone."""
    if not digest.endswith(".dir"):
        return None
    folder = scratch / digest
    listing = cache / digest[:2] / digest[2:]
    if not listing.is_file():
        return None
    entries = json.loads(listing.read_text(encoding="utf-8"))
    files = {entry["relpath"]: cache / entry["md5"][:2] / entry["md5"][2:] for entry in entries}
    if not all(file.is_file() for file in files.values()):
        return None
    if not folder.is_dir():
        with output_folder(folder) as out:
            for name, file in files.items():
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                (out / name).symlink_to(file.resolve())
    return folder
