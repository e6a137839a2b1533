"""`njit` for the project's kernels: numba's, cached on disk, aware of the kernels in other files.

numba compiles a function anew when its own file has changed, not when a function or a constant that it takes from
another file has: after `git pull` a kernel could go on with the old code. Here a cached kernel is known by the contents
of its own file, of all files from which that takes kernels, directly or not, and of those from which they take
constants. This stamp is part of the cached files' names, so that no process loads code of another version while one
writes its own, and copies of the project share the cache that NUMBA_CACHE_DIR names.
"""

import ast
import fcntl
import hashlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import InTreeCacheLocator, UserProvidedCacheLocator, UserWideCacheLocator

ROOT = Path(__file__).parents[2]


def njit(**options: Any) -> Callable[[Any], Any]:
    """`@njit(nogil=True)`: `numba.njit` with a cache; options as numba's."""

    def compiled(function: Any) -> Any:
        before = numba.config.CACHE_LOCATOR_CLASSES
        numba.config.CACHE_LOCATOR_CLASSES = LOCATORS
        try:
            return _careful(numba.njit(cache=True, **options)(function))
        finally:
            numba.config.CACHE_LOCATOR_CLASSES = before

    return compiled


def _careful(dispatcher: Any) -> Any:
    """The dispatcher, with a cache that processes save to in turn.

    It compiles anew where its cache names types of a module that has moved since. Without a lock two processes that
    compile a kernel for different types could give both results the same file, which numba would load for either.
    """
    file = dispatcher._cache._cache_file
    load, save = file._load_index, file.save

    def load_index() -> Any:
        try:
            return load()
        except (ImportError, AttributeError):
            return {}

    def save_alone(key: Any, data: Any) -> None:
        with open(Path(file._cache_path, f"{file._index_name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            save(key, data)

    file._load_index, file.save = load_index, save_alone
    return dispatcher


@cache
def stamp(path: str) -> str:
    """Digest of a file of kernels and of those it takes kernels and constants from, directly or not."""
    files: dict[Path, str] = {}
    waiting = [Path(path)]
    while waiting:
        file = waiting.pop()
        if file not in files:
            files[file] = file.read_text(encoding="utf-8")
            if file == Path(path) or "njit" in files[file]:
                waiting += _imported(files[file])
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.name}\0{files[file]}\0".encode())
    return digest.hexdigest()


def _imported(source: str) -> list[Path]:
    """Files of the project from which a file takes kernels, or constants (names in capitals)."""
    found: list[Path] = []
    for name, constants in _modules(source):
        file = ROOT / f"{name.replace('.', '/')}.py"
        if file.is_file() and (constants or "njit" in file.read_text(encoding="utf-8")):
            found.append(file)
    return found


@cache
def _modules(source: str) -> list[tuple[str, bool]]:
    """What may be modules of the project that a source imports, and whether it takes constants from them."""
    found: list[tuple[str, bool]] = []
    for node in _statements(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(alias.name, False) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            constants = any(alias.name.isupper() for alias in node.names)
            found += [(node.module, constants), *((f"{node.module}.{alias.name}", False) for alias in node.names)]
    return [(name, constants) for name, constants in found if name.startswith("llm_core.")]


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """All statements below a node; expressions, which hold most of a tree's nodes and no import, are passed over."""
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        for inner in getattr(node, field, ()):
            yield inner
            yield from _statements(inner)


class _Stamped:
    """The stamp of a locator's file, in place of numba's and in the cached files' names."""

    _py_file: str
    _lineno: int

    def get_source_stamp(self) -> str:
        return stamp(self._py_file)

    def get_disambiguator(self) -> str:
        return f"{self._lineno}-{stamp(self._py_file)[:12]}"

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        """The folder below a shared cache: the module's, the same for every copy of the project."""
        file = Path(py_file).absolute()
        return ".".join(file.relative_to(ROOT).parent.parts) if file.is_relative_to(ROOT) else file.parent.name


class InNamedFolder(_Stamped, UserProvidedCacheLocator):  # type: ignore[misc]
    """Where NUMBA_CACHE_DIR says."""


class BesideSource(_Stamped, InTreeCacheLocator):  # type: ignore[misc]
    """In __pycache__."""


class InHome(_Stamped, UserWideCacheLocator):  # type: ignore[misc]
    """In the user's cache, where the source's folder cannot be written."""


LOCATORS = ",".join(f"{__name__}.{locator.__name__}" for locator in (InNamedFolder, BesideSource, InHome))
