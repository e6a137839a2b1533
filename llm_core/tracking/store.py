"""Where the tracking store is, and names that it accepts.

The default store is `mlflow.db` in the project's folder. MLflow writes absolute paths of artifacts into it, so a
copied or moved project would go on writing models into the folder where the store was made. `relocate` finds this and
corrects the paths in the project's own file; a store elsewhere (a server, another folder) is never changed.
"""

import hashlib
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

from llm_core.runtime.progress import log
from llm_core.tracking.dvc_context import project_folder

FILE, ARTIFACTS = "mlflow.db", "mlruns"
NAME_LENGTH = 250  # MLflow's limit on the name of a param, a metric or a tag
UNNAMEABLE = re.compile(r"[^\w\-. :/]")  # characters that MLflow accepts in no name


def tracking_uri() -> str:
    """Address of the tracking store: the environment's, else a sqlite file in the project's folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project_folder() / FILE}"


def enabled() -> bool:
    """Whether runs are recorded (not with LLM_CORE_TRACKING=off, nor on ranks above 0)."""
    return os.environ.get("LLM_CORE_TRACKING", "on") != "off" and os.environ.get("RANK", "0") == "0"


def has_store() -> bool:
    """Whether there is a tracking store to read from; looking never makes one."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    return enabled() and bool(given or (project_folder() / FILE).is_file())


def own_store() -> Path | None:
    """The store's sqlite file where it lies in the project's folder (named by the environment or not), else None."""
    prefix, uri = "sqlite:///", tracking_uri()
    file = Path(unquote(uri.removeprefix(prefix).partition("?")[0])) if uri.startswith(prefix) else None
    return file if file and file.parent.resolve() == project_folder().resolve() else None


def artifacts_folder() -> Path | None:
    """The folder of a project's own artifacts, absolute; None where the store is elsewhere and decides by itself."""
    store = own_store()
    return store.resolve().parent / ARTIFACTS if store else None


def relocate() -> list[str]:
    """Make the project's own store name artifacts in this project; the folders that it named before.

    Only paths below another `mlruns`, recorded for an experiment of this store, are rewritten, in one transaction.
    """
    store, here = own_store(), artifacts_folder()
    if store is None or here is None or not store.is_file():
        return []
    with closing(sqlite3.connect(store, timeout=60, isolation_level=None)) as database:
        strangers = _other_folders(database, here)
        if not strangers:
            return []
        database.execute("BEGIN IMMEDIATE")
        strangers = _other_folders(database, here)  # another process may have done it meanwhile
        for before in strangers:
            _rewrite(database, before, str(here))
            _rewrite(database, Path(before).as_uri(), here.as_uri())
        database.execute("COMMIT")
    for before in strangers:
        log(f"tracking: this project was copied or moved; {store.name} named artifacts in {before}, now in {here}")
    return strangers


def _other_folders(database: sqlite3.Connection, here: Path) -> list[str]:
    """The `mlruns` folders, other than `here`, in which experiments of the store have their artifacts."""
    found: dict[str, None] = {}
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiments'").fetchone():
        return []
    for identifier, name, location in database.execute(
        "SELECT experiment_id, name, artifact_location FROM experiments WHERE artifact_location IS NOT NULL"
    ):
        path = unquote(location.removeprefix("file://")) if location.startswith("file://") else location
        folder, _, last = path.rpartition("/")
        ours = path.startswith("/") and last in (str(identifier), name) and folder.endswith(f"/{ARTIFACTS}")
        if ours and Path(folder).resolve() != here:
            found[folder] = None
    return list(found)


def _rewrite(database: sqlite3.Connection, before: str, after: str) -> None:
    """Replace `before` by `after` at the start of every value of the store that is that folder or below it."""
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
    for table in tables:
        for _, column, kind, *_ in database.execute(f'PRAGMA table_info("{table}")').fetchall():
            if "CHAR" in kind.upper() or "TEXT" in kind.upper():
                database.execute(
                    f'UPDATE "{table}" SET "{column}" = ? || substr("{column}", ?) '
                    f'WHERE "{column}" = ? OR substr("{column}", 1, ?) = ?',
                    (after, len(before) + 1, before, len(before) + 1, f"{before}/"),
                )


def clean_name(name: str) -> str:
    """`name` as MLflow accepts it for params, metrics and tags: the same where nothing has to change.

    >>> clean_name("bits_per_byte/c++"), clean_name("/a//../b")
    ('bits_per_byte/c__', 'a/__/b')
    """
    parts = [part if part.strip(".") else "_" * len(part) for part in UNNAMEABLE.sub("_", name).split("/") if part]
    clean = "/".join(parts) or "_"
    clean = f"_{clean[1:]}" if clean.startswith("..") else clean
    return clean if len(clean) <= NAME_LENGTH else f"{clean[: NAME_LENGTH - 9]} {_short(name)}"


class Names:
    """Names of one run: each original has one clean name, and no two originals share one."""

    def __init__(self) -> None:
        self._originals: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """The clean name; a second original with the same clean name gets a few digits of its hash behind it."""
        clean = clean_name(name)
        if self._originals.setdefault(clean, name) != name:
            clean = f"{clean[: NAME_LENGTH - 9]} {_short(name)}"
            self._originals[clean] = name
        return clean


def _short(name: str) -> str:
    return hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
