"""`njit` for the project's kernels: numba's, cached on disk, aware of the kernels in other files.

numba compiles a function anew when its own file has changed, not when a function or a constant that it takes from
another file has: after `git pull` a kernel could go on with the old code. Here a cached kernel is known by the contents
of its own file and of all files with kernels from which that imports.
"""

import hashlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import InTreeCacheLocator, UserProvidedCacheLocator, UserWideCacheLocator

ROOT = Path(__file__).parents[2]
IMPORTED = re.compile(r"^(?:from|import) (llm_core[\w.]*)", re.MULTILINE)


def njit(**options: Any) -> Callable[[Any], Any]:
    """`@njit(nogil=True)`: `numba.njit` with a cache; options as numba's."""

    def compiled(function: Any) -> Any:
        before = numba.config.CACHE_LOCATOR_CLASSES
        numba.config.CACHE_LOCATOR_CLASSES = LOCATORS
        try:
            return numba.njit(cache=True, **options)(function)
        finally:
            numba.config.CACHE_LOCATOR_CLASSES = before

    return compiled


@cache
def stamp(path: str) -> str:
    """Digest of a file of kernels and of those it imports from, directly or not."""
    files, waiting = {}, [Path(path)]
    while waiting:
        file = waiting.pop()
        if file not in files:
            files[file] = file.read_text(encoding="utf-8")
            waiting += [other for other in _imported(files[file]) if "njit" in other.read_text(encoding="utf-8")]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.name}\0{files[file]}\0".encode())
    return digest.hexdigest()


def _imported(source: str) -> list[Path]:
    names = [name.replace(".", "/") for name in IMPORTED.findall(source)]
    return [file for name in names if (file := ROOT / f"{name}.py").is_file()]


class _Stamped:
    """The stamp of a locator's file, in place of numba's."""

    _py_file: str

    def get_source_stamp(self) -> str:
        return stamp(self._py_file)


class InNamedFolder(_Stamped, UserProvidedCacheLocator):  # type: ignore[misc]
    """Where NUMBA_CACHE_DIR says."""


class BesideSource(_Stamped, InTreeCacheLocator):  # type: ignore[misc]
    """In __pycache__."""


class InHome(_Stamped, UserWideCacheLocator):  # type: ignore[misc]
    """In the user's cache, where the source's folder cannot be written."""


LOCATORS = ",".join(f"{__name__}.{locator.__name__}" for locator in (InNamedFolder, BesideSource, InHome))
