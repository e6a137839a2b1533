"""Earlier versions of a folder, from DVC's cache.

A model's record names the token shards, finetuning rows and parent that it was made from by their digests in dvc.lock.
When the folder has changed since, the recorded version is often still in the cache: `.dvc/cache/files/md5/ab/cdef….dir`
lists its files by their own digests. A folder of links to them is what the readers need. Nothing is copied, and DVC
itself is not imported: the layout is documented (https://dvc.org/doc/user-guide/project-structure/internal-files).
"""

import configparser
import json
from collections.abc import Iterator
from pathlib import Path

from llm_core.errors import UserError
from llm_core.runtime.digests import content_digest
from llm_core.runtime.storage import output_folder

OBJECTS = Path("files/md5")  # in the cache
SCRATCH = Path(".scratch/lineage/kept")


def dvc_cache(root: Path = Path()) -> Path:
    """The folder of the DVC cache of the project at `root`: `.dvc/cache`, or where `dvc cache dir` moved it."""
    settings = _settings(root)
    given = settings.get("cache", "dir", fallback="") if settings.has_section("cache") else ""
    return root / ".dvc" / (Path(given).expanduser() if given else "cache")


def dvc_remotes(root: Path = Path()) -> Iterator[tuple[str, str]]:
    """(name, address) of the DVC remotes of the project at `root`."""
    settings = _settings(root)
    for section in settings.sections():
        kind, _, name = section.strip("'\"").partition(" ")
        if kind == "remote":
            yield name.strip("'\""), settings[section].get("url", "")


def version_of(path: Path, digest: str | None) -> Path | None:
    """`path` where its content has that digest (or the digest is None), else that version from the cache, or None."""
    if path.exists() and (digest is None or content_digest(path) == digest):
        return path
    return kept_folder(digest) if digest else None


def kept_folder(digest: str, cache: Path | None = None, scratch: Path = SCRATCH) -> Path | None:
    """A folder of links to the files that DVC keeps under `digest`; None when one of them is gone."""
    if not digest.endswith(".dir"):
        return None
    folder = scratch / digest
    files = kept_files(digest, cache or dvc_cache() / OBJECTS)
    if files is None:
        return None
    if not folder.is_dir():
        with output_folder(folder) as out:
            link(files, out)
    return folder


def kept_files(digest: str, cache: Path) -> dict[str, Path] | None:
    """The files of an output in `cache` by their path in it ("" for an output that is a file); None where one lacks."""
    stored = cache / digest[:2] / digest[2:]
    if not stored.is_file():
        return None
    if not digest.endswith(".dir"):
        return {"": stored}
    entries = json.loads(stored.read_text(encoding="utf-8"))
    files = {entry["relpath"]: cache / entry["md5"][:2] / entry["md5"][2:] for entry in entries}
    return files if all(file.is_file() for file in files.values()) else None


def link(files: dict[str, Path], place: Path) -> None:
    """Make a link to each file at its path below `place`; `place` itself for the path ""."""
    for name, file in files.items():
        at = place / name
        at.parent.mkdir(parents=True, exist_ok=True)
        at.symlink_to(file.resolve())


def _settings(root: Path) -> configparser.ConfigParser:
    """DVC's settings of a project: those of git, and those of this working copy over them."""
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read([root / ".dvc/config", root / ".dvc/config.local"], encoding="utf-8")
    except configparser.Error as error:
        raise UserError(f"{root / '.dvc'}: its config cannot be read ({' '.join(str(error).split())})") from None
    return settings
