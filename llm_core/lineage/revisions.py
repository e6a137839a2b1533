"""The project's outputs as another git revision had them, from its dvc.lock files and DVC's cache.

`HEAD~1:data/models/base` names a folder at a revision, as git does. A folder of links to the cache is made of the
project at that revision: not only of the named folder, because a model's record leads to its token shards, its rows and
its evaluation. Nothing is checked out, and the working copy stays as it is.
"""

import posixpath
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.lineage.kept import OBJECTS, dvc_cache, kept_files, link
from llm_core.params.reading import parse
from llm_core.runtime.storage import output_folder

SCRATCH = Path(".scratch/lineage/revisions")
LOCK, FILE = "dvc.lock", "dvc.yaml"


def place_of(name: str) -> Path:
    """The folder that `name` means: a path, or `REVISION:PATH` where there is no such path.

    Raises UserError where git does not know the revision, where none of its stages made that path, or where DVC's cache
    has not all of its files.
    """
    revision, colon, path = name.partition(":")
    if not colon or Path(name).exists():
        return Path(name)
    commit = _git("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}", what=f"{name}: {revision}")
    wanted = posixpath.normpath(path)
    outputs = dict(_outputs(commit.strip()))
    near = [out for out in outputs if _within(out, wanted) or _within(wanted, out)]
    if not near:
        raise UserError(f"{name}: no stage made that path at {revision}; it has {', '.join(sorted(outputs)) or 'none'}")
    cache = dvc_cache() / OBJECTS
    files = {out: kept_files(digest, cache) for out, digest in outputs.items()}
    if missing := [out for out in near if files[out] is None]:
        raise UserError(
            f"{name}: {', '.join(missing)} is not in DVC's cache; `dvc fetch --all-commits` gets it from a remote, and "
            f"`dvc repro` in a worktree of {revision} makes it again"
        )
    folder = SCRATCH / commit.strip()
    with output_folder(folder) as tree:
        for out, found in files.items():
            link(found or {}, tree / out)
        for lock in _locks(commit.strip()):  # has the params of each stage
            for file in (lock, posixpath.join(posixpath.dirname(lock), FILE)):
                (tree / file).parent.mkdir(parents=True, exist_ok=True)
                (tree / file).write_text(_git("show", f"{commit.strip()}:./{file}", what=name), encoding="utf-8")
    return folder / wanted


def stage_outputs(folder: str, lock: Any, declared: Any) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(path, its entry, its stage's entry) of each output in a dvc.lock file of `folder`, with the dvc.yaml beside it.

    Paths begin where `folder` does; those in the file begin at the stage's `wdir`, which the dvc.yaml has.
    """
    declarations = (declared or {}).get("stages") or {}
    for stage, entry in ((lock or {}).get("stages") or {}).items():
        declaration = declarations.get(stage.partition("@")[0]) or {}
        own = declaration.get("do") or declaration
        for out in entry.get("outs") or []:
            yield posixpath.normpath(posixpath.join(folder, own.get("wdir", "."), out["path"])), out, entry


def _outputs(commit: str) -> Iterator[tuple[str, str]]:
    """(path from the working directory, digest) of each output in the dvc.lock files of a commit."""
    for lock in _locks(commit):
        folder = posixpath.dirname(lock)
        files = (_yaml(commit, lock), _yaml(commit, posixpath.join(folder, FILE)))
        for path, out, _ in stage_outputs(folder, *files):
            if "md5" in out and not path.startswith(("/", "../")):
                yield path, out["md5"]


def _locks(commit: str) -> list[str]:
    files = _git("ls-tree", "-r", "-z", "--name-only", commit, what=commit).split("\0")
    return [file for file in files if posixpath.basename(file) == LOCK]


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _yaml(commit: str, file: str) -> dict[str, Any]:
    return dict(parse(_git("show", f"{commit}:./{file}", what=f"{commit}:{file}"), f"{commit}:{file}") or {})


def _git(*arguments: str, what: str) -> str:
    """What git prints. Raises UserError with its last line."""
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UserError(f"{what}: git cannot be run ({error.strerror})") from None
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"{what}: git does not know it ({reason})")
    return done.stdout
