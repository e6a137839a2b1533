"""A working copy's dvc.yaml files and dvc.lock: what Dagster's assets are built from.

Templates, foreach and matrix are resolved by DVC's own API, and hashes of the workspace are DVC's own (its state
database remembers unchanged files, .dvcignore is respected), so both tools have the same graph. The stages are in
`graph.py`, the formulas of versions in `versions.py`, and DVC's own files in `dvc_files.py`.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

from pipelines.dvc_files import (
    LOCK_FILE,
    nobody_writes,
    open_repository,
    paths_being_written,
    read_locks,
    stage_lines,
)
from pipelines.graph import DVC_FILE, EXPERIMENTS, Graph, Output, Stage, overlap
from pipelines.versions import BEFORE, NOTHING, code_version, data_version, workspace_hash


class DvcProject(Graph):
    """The graph of one working copy at the moment of reading.

    DVC rewrites dvc.lock in place, and holds its repository lock while it does. The files are read under the same
    lock, so that none is half written; DVC gives the lock back while a stage's command runs.

    Raises FileNotFoundError where there is no dvc.yaml, DVC's own errors (with file and line) where it is not valid,
    and DVC's LockError where another `dvc` holds the lock for more than PATIENCE seconds.
    """

    def __init__(self, root: str | Path = ".") -> None:
        self.root = Path(root).resolve()
        if not (self.root / DVC_FILE).is_file():
            raise FileNotFoundError(
                f"{self.root / DVC_FILE}: no such file; start Dagster in the project's folder or set PIPELINE_PROJECT"
            )
        self._repo = open_repository(self.root)
        # These files alone, never `repo.index`: that one walks the whole working copy, data included.
        self.files = [DVC_FILE, *self._experiment_files()]
        with nobody_writes(self._repo, self.root):
            self._dvc_stages = {
                stage.name if file == DVC_FILE else f"{file}:{stage.name}": stage
                for file in self.files
                for stage in self._repo.stage.load_file(str(self.root / file))
            }
            self.lock = read_locks(self.root, self.files)
            self._locks_seen = self._lock_times()
            self._written = paths_being_written(self._repo, self.root)
        self.stages = {name: self._plain(name, stage) for name, stage in self._dvc_stages.items()}
        self._code_versions: dict[str, str] = {}
        self._params_files: dict[str, dict[str, Any]] = {}

    def _experiment_files(self) -> list[str]:
        found = sorted((self.root / EXPERIMENTS).rglob(DVC_FILE))
        return [file.relative_to(self.root).as_posix() for file in found]

    def _plain(self, name: str, stage: Any) -> Stage:
        from dvc.dependency import ParamsDependency

        params = [
            key if dep.def_path == ParamsDependency.DEFAULT_PARAMS_FILE else f"{dep.def_path}:{key}"
            for dep in stage.deps
            if isinstance(dep, ParamsDependency)
            for key in dep.params or ["*"]
        ]
        command = stage.cmd if isinstance(stage.cmd, str) else " && ".join(stage.cmd)
        return Stage(
            name=name,
            cmd=command,
            file=Path(stage.path_in_repo).as_posix(),
            desc=stage.desc or "",
            deps=tuple(self._relative(dep) for dep in stage.deps if not isinstance(dep, ParamsDependency)),
            params=tuple(params),
            outs=tuple(Output(self._relative(out), _kind(out), out.use_cache) for out in stage.outs),
            meta=dict(stage.meta or {}),
        )

    @cached_property
    def lines(self) -> dict[str, int]:
        """The line of each stage in its own dvc.yaml."""
        lines = {file: stage_lines(self.root / file) for file in self.files}
        return {name: lines[stage.file][stage.group] for name, stage in self.stages.items()}

    def _relative(self, item: Any) -> str:
        path = Path(item.fs_path)
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(item.def_path)

    def running(self, name: str) -> bool:
        """Whether a `dvc` was at work on the stage's outputs at the moment of reading."""
        outs = [str(self.root / out.path) for out in self.stages[name].outs]
        return any(overlap(out, path) for out in outs for path in self._written)

    def overtaken(self, name: str) -> bool:
        """Whether a `dvc` has begun or ended since the moment of reading, and may have changed the outputs."""
        outs = [str(self.root / out.path) for out in self.stages[name].outs]
        written = paths_being_written(self._repo, self.root)
        return any(overlap(out, path) for out in outs for path in written) or self._locks_seen != self._lock_times()

    def _lock_times(self) -> list[int]:
        files = [(self.root / file).with_name(LOCK_FILE) for file in self.files]
        return [file.stat().st_mtime_ns if file.exists() else 0 for file in files]

    def locked(self, name: str, part: str) -> dict[str, str]:
        """Hashes by path of a stage's `deps` or `outs` in its dvc.lock, which has paths from the stage's `wdir`."""
        wdir = Path(self._dvc_stages[name].wdir)
        return {
            Path(os.path.relpath(wdir / item["path"], self.root)).as_posix(): item.get("md5", "")
            for item in self.lock.get(name, {}).get(part, [])
        }

    def data_version(self, name: str) -> str | None:
        """Data version of the stage's outputs in dvc.lock; None where it has not run."""
        return data_version(self.locked(name, "outs"), self.consumed[name]) if name in self.lock else None

    def locked_code_version(self, name: str) -> str | None:
        """Code version that the stage last ran with; None where it has not run."""
        entry = self.lock.get(name)
        if entry is None:
            return None
        leaves = {path: md5 for path, md5 in self.locked(name, "deps").items() if not self.producers(path)}
        return code_version(entry.get("cmd"), entry.get("params") or {}, leaves)

    def workspace_code_version(self, name: str) -> str:
        """Code version that the stage would run with now."""
        if name not in self._code_versions:
            params = self.workspace_params(name)
            deps = {self._relative(dep): dep for dep in self._dvc_stages[name].deps if dep.def_path not in params}
            leaves = {path: workspace_hash(dep) for path, dep in deps.items() if not self.producers(path)}
            self._code_versions[name] = code_version(self._dvc_stages[name].cmd, params, leaves)
        return self._code_versions[name]

    def workspace_params(self, name: str) -> dict[str, dict[str, Any]]:
        """The present params that a stage reads, by file; absent ones are left out, as by DVC.

        DVC reads the file again for each stage, which was a third of the code location's loading time.
        """
        from dvc.dependency import ParamsDependency

        found: dict[str, dict[str, Any]] = {}
        for dep in self._dvc_stages[name].deps:
            if isinstance(dep, ParamsDependency):
                if dep.fs_path not in self._params_files:
                    self._params_files[dep.fs_path] = ParamsDependency(dep.stage, dep.fs_path).read_params()
                whole = values = self._params_files[dep.fs_path]
                if dep.params:
                    values = {}
                    for key in dep.params:
                        with suppress(LookupError, TypeError, ValueError):
                            values[key] = reduce(_item, key.split("."), whole)
                found[dep.def_path] = values
        return found

    def changes(self, name: str) -> dict[str, dict[str, Any]]:
        """The result of `dvc status` for a stage: changed deps, params and outs by path, and the command; empty if
        fresh."""
        from dvc.dependency import ParamsDependency

        stage = self._dvc_stages[name]  # its own `status` needs the repository's lock, which a running stage may hold
        found: dict[str, dict[str, Any]] = {"deps": {}, "params": {}, "outs": {}, "command": {}}
        for item in [*stage.deps, *stage.outs]:
            for change in item.status().values():
                part = "outs" if item in stage.outs else "params" if isinstance(item, ParamsDependency) else "deps"
                found[part][item.def_path if part == "params" else self._relative(item)] = change
        if stage.cmd_changed:
            found["command"] = {"before": self.lock.get(name, {}).get("cmd"), "now": stage.cmd}
        return found

    def fresh(self, name: str) -> bool:
        """Whether `dvc repro --single-item` would only report that the stage did not change."""
        stage = self._dvc_stages[name]
        by_itself = stage.frozen or stage.always_changed or stage.is_callback  # DVC decides about these
        return name in self.lock and not by_itself and not any(self.changes(name).values())

    def restorable(self, name: str, restored: Iterable[str] = ()) -> bool:
        """Whether `dvc repro` would check a stale stage's outputs out of DVC's cache instead of running it.

        `restored` are stages that will have been restored by then, to their entries in dvc.lock.
        """
        from dvc.stage.cache import _can_hash
        from dvc.stage.exceptions import StageNotFound
        from dvc.stage.loader import StageLoader

        known = self._dvc_stages[name]
        if name not in self.lock or known.frozen or known.always_changed:
            return False
        try:
            stage = self._repo.stage.load_one(known.path, known.name)
        except StageNotFound:
            return False
        above, changed = set(restored), stage.cmd_changed
        for dep in stage.deps:
            makers = set(self.producers(self._relative(dep)))
            if not dep.status() or (makers and makers <= above):
                continue  # its hash in dvc.lock holds, or will hold
            if not dep.exists:
                return False
            changed = True
            dep.save()
        if changed or not all(out.hash_info for out in stage.outs):
            entry = self._repo.stage_cache._load(stage) if _can_hash(stage) else None
            if not entry:
                return False
            StageLoader.fill_from_lock(stage, entry)
        return bool(stage.outs_cached())

    def spoiled_outputs(self, name: str) -> list[str]:
        """Outputs that differ from dvc.lock: deleted, edited by hand, new, or gone from the cache."""
        return [self._relative(out) for out in self._dvc_stages[name].outs if out.status()]

    def consumed_versions(self, name: str) -> dict[str, str]:
        """For each parent the data version that the stage consumed in its last run.

        A dep whose present hash is the one in dvc.lock was consumed as its producers wrote it; for
        any other, the consumed version is unknown and named after the hash in dvc.lock.
        """
        locked = self.locked(name, "deps")
        versions: dict[str, str] = {}
        for dep in self._dvc_stages[name].deps:
            path = self._relative(dep)
            makers = [maker for maker in self.producers(path) if maker != name]
            if makers and dep.status():
                versions |= dict.fromkeys(makers, f"{BEFORE}{locked.get(path, 'nothing')}")
            for maker in makers:
                versions.setdefault(maker, self.data_version(maker) or NOTHING)
        return versions

    def close(self) -> None:
        """Release DVC's state database."""
        self._repo.close()

    def __enter__(self) -> "DvcProject":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _kind(out: Any) -> str:
    return "metrics" if out.metric else "plots" if out.plot else "outs"


def _item(value: Any, part: str) -> Any:
    """One step down a dotted key; dpath, which DVC uses, searches the whole tree for it."""
    return value[int(part) if isinstance(value, list) else part]
