"""DVC's repository and the files that it writes while it runs: dvc.lock, its lock, and its list of claimed paths."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pipelines.graph import DVC_FILE

LOCK_FILE = "dvc.lock"
PATIENCE = 10.0  # seconds to wait for DVC's lock, which a `dvc` that hashes large files may hold for longer


def open_repository(root: Path) -> Any:
    """DVC's repository at `root`, also without git, which DVC accepts only if its config says so."""
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        repo = Repo(str(root))
        repo.scm  # noqa: B018 - looked up at first use
        return repo
    except SCMError:
        return Repo(str(root), config={"core": {"no_scm": True}})


@contextmanager
def nobody_writes(repo: Any, root: Path) -> Iterator[None]:
    """Hold DVC's repository lock. In a folder that is read-only for this process, no `dvc` of it writes dvc.lock
    either.

    Raises DVC's LockError where another `dvc` holds the lock for more than PATIENCE seconds.
    """
    from dvc.lock import LockError

    if not os.access(repo.tmp_dir or root, os.W_OK):
        yield
        return
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            repo.lock.lock()  # tries for three seconds
            break
        except LockError:
            if time.monotonic() > deadline:
                raise
    try:
        yield
    finally:
        repo.lock.unlock()


def stage_lines(file: Path) -> dict[str, int]:
    """Line of each stage in a dvc.yaml, by its name before `@`; lines count from 1."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, where PyYAML was built with it
    root = yaml.compose(file.read_text(encoding="utf-8"), Loader=loader)
    sections = {key.value: value for key, value in root.value} if isinstance(root, yaml.MappingNode) else {}
    stages = sections.get("stages")
    found = stages.value if isinstance(stages, yaml.MappingNode) else []
    return {key.value: key.start_mark.line + 1 for key, _ in found}


def read_locks(root: Path, files: list[str]) -> dict[str, dict[str, Any]]:
    """Entries of the dvc.lock beside each dvc.yaml of `files`, by stage; {} before the first run."""
    from dvc.utils.serialize import load_yaml

    found = {}
    for file in files:
        path = (root / file).with_name(LOCK_FILE)
        for name, entry in ((load_yaml(str(path)).get("stages") or {}) if path.is_file() else {}).items():
            found[name if file == DVC_FILE else f"{file}:{name}"] = entry
    return found


def paths_being_written(repo: Any, root: Path) -> list[str]:
    """Absolute paths that a running `dvc` has claimed for writing (in its file `rwlock`): the outputs of its stage.

    DVC removes a stage's outputs before its command runs, so until the end they are missing on purpose.
    """
    import psutil

    file = Path(repo.tmp_dir or root) / "rwlock"
    try:
        claims = json.loads(file.read_text(encoding="utf-8")).get("write", {})
    except (OSError, ValueError):  # no stage has run yet; or DVC itself reports the broken file
        return []
    return [path for path, claim in claims.items() if psutil.pid_exists(claim["pid"])]
