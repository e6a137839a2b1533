"""Importing a package without what it loads for parts of it that are not used here."""

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.abc import MetaPathFinder
from typing import Any


class _Hidden(MetaPathFinder):
    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        """Nothing, but for the hidden packages: that they are not there."""
        if name in self._names:
            raise ModuleNotFoundError(f"{name} is left out here", name=name)


@contextmanager
def without(*names: str) -> Iterator[None]:
    """In the block an import of these packages fails, as where they are not installed, if they are not imported yet.

    (None in `sys.modules` would do for Python's own `import`; modules compiled by Cython would take it for the module.)
    Other threads must import nothing meanwhile.
    """
    finder = _Hidden(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def without_pandas(runner: str) -> AbstractContextManager[None]:
    """`without("pandas")`, for verbs that turn no data frame into a table, or back.

    pyarrow imports it for the first array that it makes of Python's or numpy's values, a fifth of such a verb's start.
    Nothing where `runner` is another than `local`: Ray looks for pandas itself.
    """
    return without("pandas") if runner == "local" else nullcontext()
