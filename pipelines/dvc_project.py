"""dvc.yaml and dvc.lock as plain data: what Dagster's assets are built from.

The default graph is the dvc.yaml at the top; each dvc.yaml below `experiments/` adds stages that
run when they are asked for. A stage is named as `dvc repro` takes it: `clean@factbook`,
`experiments/retrieval/dvc.yaml:index`. One graph holds all, joined through the paths of their files.

Templates, foreach and matrix are resolved by DVC's own API, and hashes of the workspace are
DVC's own (its state database remembers unchanged files, .dvcignore is respected), so both
tools see one graph. Two formulas are here:

- data version of a stage: the hash in dvc.lock of its one output; of several, a hash over
  those that another stage reads (a rewritten metrics.json alone makes nothing below stale,
  as under DVC), or over all where none is read;
- code version of a stage: a hash over its command, its flattened params and the hashes of
  its leaf deps (files that no stage makes: code, mostly). Computed in the same way from dvc.lock and
  from the workspace, it differs exactly where DVC says "changed command / params / deps".
"""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

from llm_core.runtime.nested import flatten

BEFORE = "before:"  # a consumed version that is no longer the present one
NOTHING = "NULL"  # dagster's version of an asset that has never been materialized
DVC_FILE = "dvc.yaml"
LOCK_FILE = "dvc.lock"
PATIENCE = 10.0  # seconds to wait for DVC's lock, which a `dvc` that hashes large files may hold for longer
EXPERIMENTS = "experiments"


@dataclass(frozen=True)
class Output:
    """One output of a stage; `kind` is outs, metrics or plots."""

    path: str
    kind: str
    cache: bool


@dataclass(frozen=True)
class Stage:
    """One stage of a dvc.yaml, templates resolved; paths are relative to the project, in POSIX form."""

    name: str
    cmd: str
    file: str = DVC_FILE
    desc: str = ""
    deps: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    outs: tuple[Output, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def plain_name(self) -> str:
        """Name as its own dvc.yaml has it: `index` of `experiments/retrieval/dvc.yaml:index`."""
        return self.name.removeprefix(f"{self.file}:")

    @property
    def group(self) -> str:
        """Plain name before the `@` of a foreach or matrix stage, or the whole."""
        return self.plain_name.partition("@")[0]

    @property
    def experiment(self) -> str:
        """Folder below `experiments/` of the stage's dvc.yaml (`retrieval`); "" in the default graph."""
        return "" if self.file == DVC_FILE else Path(self.file).parent.relative_to(EXPERIMENTS).as_posix()

    @property
    def folder(self) -> str:
        """The folder that holds the stage's outputs (`metrics.json` and all)."""
        if len(self.outs) == 1 and Path(self.outs[0].path).name != "documents":
            return self.outs[0].path
        return os.path.commonpath([str(Path(out.path).parent) for out in self.outs]) if self.outs else "."

    @property
    def key(self) -> tuple[str, ...]:
        """Path of the asset's key: `clean@factbook` is `clean_factbook`, an experiment's `index` `retrieval/index`.

        Dagster's graph shows only a path's last part, with the asset's group beside it.
        """
        return (*filter(None, self.experiment.split("/")), identifier(self.plain_name))


def identifier(name: str) -> str:
    """A name that Dagster takes for assets, groups and ops."""
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def overlap(first: str, second: str) -> bool:
    """Whether one path is the other or lies below it."""
    return first == second or first.startswith(f"{second}/") or second.startswith(f"{first}/")


def open_repository(root: Path) -> Any:
    """DVC's repository at `root`, also in a tarball without git, which DVC refuses unless its config says so."""
    from dvc.repo import Repo
    from dvc.scm import SCMError

    try:
        repo = Repo(str(root))
        repo.scm  # noqa: B018 - looked up at first use
        return repo
    except SCMError:
        return Repo(str(root), config={"core": {"no_scm": True}})


class DvcProject:
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
        with self._nobody_writes():
            self._dvc_stages = {
                stage.name if file == DVC_FILE else f"{file}:{stage.name}": stage
                for file in self.files
                for stage in self._repo.stage.load_file(str(self.root / file))
            }
            self.lock = self._read_locks()
            self._written = self._paths_being_written()
        self.stages = {name: self._plain(name, stage) for name, stage in self._dvc_stages.items()}
        self._code_versions: dict[str, str] = {}
        self._params_files: dict[str, dict[str, Any]] = {}

    @contextmanager
    def _nobody_writes(self) -> Iterator[None]:
        """Hold DVC's repository lock. In a folder that cannot be written nobody writes dvc.lock either."""
        from dvc.lock import LockError

        if not os.access(self._repo.tmp_dir or self.root, os.W_OK):
            yield
            return
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self._repo.lock.lock()  # tries for three seconds
                break
            except LockError:
                if time.monotonic() > deadline:
                    raise
        try:
            yield
        finally:
            self._repo.lock.unlock()

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

    def _relative(self, item: Any) -> str:
        path = Path(item.fs_path)
        return path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else str(item.def_path)

    # --- the graph

    def producers(self, dep: str) -> list[str]:
        """Stages whose outputs overlap the path `dep`, in the order of the files."""
        return [name for name, stage in self.stages.items() if any(overlap(out.path, dep) for out in stage.outs)]

    @cached_property
    def parents(self) -> dict[str, list[str]]:
        """For each stage the stages that it reads from."""
        return {
            name: list(dict.fromkeys(p for dep in stage.deps for p in self.producers(dep) if p != name))
            for name, stage in self.stages.items()
        }

    @cached_property
    def consumed(self) -> dict[str, list[str]]:
        """For each stage those of its outputs that make its data version (see the module's docstring)."""
        deps = [(name, dep) for name, stage in self.stages.items() for dep in stage.deps]
        found = {}
        for name, stage in self.stages.items():
            paths = [out.path for out in stage.outs]
            read = [path for path in paths if any(overlap(path, dep) for reader, dep in deps if reader != name)]
            found[name] = read or paths
        return found

    def ancestors(self, name: str) -> set[str]:
        """All that a stage reads from, directly or not."""
        found: set[str] = set()
        waiting = list(self.parents[name])
        while waiting:
            parent = waiting.pop()
            if parent not in found:
                found.add(parent)
                waiting += self.parents[parent]
        return found

    def order(self) -> Iterator[str]:
        """Stages, each after all it reads from."""
        done: set[str] = set()

        def visit(name: str) -> Iterator[str]:
            if name not in done:
                done.add(name)
                for parent in self.parents[name]:
                    yield from visit(parent)
                yield name

        for name in self.stages:
            yield from visit(name)

    # --- versions

    def _read_locks(self) -> dict[str, dict[str, Any]]:
        """Entries of dvc.lock, and of the one beside each experiment's dvc.yaml, by stage; {} before the first run."""
        from dvc.utils.serialize import load_yaml

        found = {}
        for file in self.files:
            path = (self.root / file).with_name(LOCK_FILE)
            for name, entry in ((load_yaml(str(path)).get("stages") or {}) if path.is_file() else {}).items():
                found[name if file == DVC_FILE else f"{file}:{name}"] = entry
        return found

    def _paths_being_written(self) -> list[str]:
        """Absolute paths that a running `dvc` has claimed for writing (its file `rwlock`): the outputs of its stage.

        DVC removes a stage's outputs before its command runs, so that until the end they are missing on purpose.
        """
        import psutil

        file = Path(self._repo.tmp_dir or self.root) / "rwlock"
        try:
            claims = json.loads(file.read_text(encoding="utf-8")).get("write", {})
        except (OSError, ValueError):  # no stage has run yet; or DVC itself complains of it
            return []
        return [path for path, claim in claims.items() if psutil.pid_exists(claim["pid"])]

    def running(self, name: str) -> bool:
        """Whether a `dvc` was at work on the stage's outputs at the moment of reading."""
        outs = [str(self.root / out.path) for out in self.stages[name].outs]
        return any(overlap(out, path) for out in outs for path in self._written)

    def locked(self, name: str, part: str) -> dict[str, str]:
        """Hashes by path of a stage's `deps` or `outs` in its dvc.lock, which has paths from the stage's `wdir`."""
        wdir = Path(self._dvc_stages[name].wdir)
        return {
            Path(os.path.relpath(wdir / item["path"], self.root)).as_posix(): item.get("md5", "")
            for item in self.lock.get(name, {}).get(part, [])
        }

    def data_version(self, name: str) -> str | None:
        """Data version of what dvc.lock says the stage has made; None where it has not run."""
        outs = self.locked(name, "outs")
        paths = self.consumed[name]
        if name not in self.lock or any(path not in outs for path in paths):
            return None
        return outs[paths[0]] if len(paths) == 1 else _digest({path: outs[path] for path in paths})

    def locked_code_version(self, name: str) -> str | None:
        """Code version that the stage last ran with; None where it has not run."""
        entry = self.lock.get(name)
        if entry is None:
            return None
        leaves = {path: md5 for path, md5 in self.locked(name, "deps").items() if not self.producers(path)}
        return _code_version(entry.get("cmd"), entry.get("params") or {}, leaves)

    def workspace_code_version(self, name: str) -> str:
        """Code version that the stage would run with now."""
        if name not in self._code_versions:
            params = self.workspace_params(name)
            deps = {self._relative(dep): dep for dep in self._dvc_stages[name].deps if dep.def_path not in params}
            leaves = {path: _workspace_hash(dep) for path, dep in deps.items() if not self.producers(path)}
            self._code_versions[name] = _code_version(self._dvc_stages[name].cmd, params, leaves)
        return self._code_versions[name]

    def workspace_params(self, name: str) -> dict[str, dict[str, Any]]:
        """The params that a stage reads, as they are now, by file; absent ones are left out, as by DVC.

        DVC reads the file anew for each stage, which was a third of the time that the code location took to load.
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
        """What `dvc status` says of a stage: changed deps, params and outs by path, and the command; empty if fresh."""
        from dvc.dependency import ParamsDependency

        stage = self._dvc_stages[name]  # its own `status` wants the repository's lock, which a running stage may hold
        found: dict[str, dict[str, Any]] = {"deps": {}, "params": {}, "outs": {}, "command": {}}
        for item in [*stage.deps, *stage.outs]:
            for change in item.status().values():
                part = "outs" if item in stage.outs else "params" if isinstance(item, ParamsDependency) else "deps"
                found[part][item.def_path if part == "params" else self._relative(item)] = change
        if stage.cmd_changed:
            found["command"] = {"before": self.lock.get(name, {}).get("cmd"), "now": stage.cmd}
        return found

    def fresh(self, name: str) -> bool:
        """Whether `dvc repro --single-item` would only say that the stage did not change."""
        stage = self._dvc_stages[name]
        by_itself = stage.frozen or stage.always_changed or stage.is_callback  # what these do is DVC's affair
        return name in self.lock and not by_itself and not any(self.changes(name).values())

    def restorable(self, name: str, restored: Iterable[str] = ()) -> bool:
        """Whether `dvc repro` would check a stale stage's outputs out of DVC's cache instead of running it.

        `restored` are stages that will have been restored by then, to what dvc.lock says of them.
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
        """Outputs that are not what dvc.lock says: deleted, edited by hand, new, or gone from the cache."""
        return [self._relative(out) for out in self._dvc_stages[name].outs if out.status()]

    def consumed_versions(self, name: str) -> dict[str, str]:
        """For each parent the data version that the stage consumed in its last run.

        A dep whose present hash is the one in dvc.lock was consumed as its makers left it; of
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
    """One step down a dotted key; dpath, which DVC uses, looks through the whole tree for it."""
    return value[int(part) if isinstance(value, list) else part]


def _workspace_hash(item: Any) -> str:
    """DVC's hash of the content of a dep's or output's path."""
    if not item.exists:
        return "missing"
    return str(item.get_hash().value)


def _code_version(cmd: Any, params: dict[str, Any], leaves: dict[str, str]) -> str:
    plain = {file: {key: _plain(value) for key, value in flatten(values).items()} for file, values in params.items()}
    return _digest({"cmd": cmd, "params": plain, "deps": leaves})


def _plain(value: Any) -> Any:
    """One form for values that DVC holds to be equal: 1, 1.0 and true."""
    return int(value) if isinstance(value, bool | float) and value == value // 1 else value


def _digest(value: dict[str, Any] | Iterable[str]) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
