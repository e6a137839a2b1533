"""pyarrow without pandas: it imports pandas for the first array that it makes of Python's or numpy's values.

That takes a fifth of the start of a verb that turns no data frame into a table, or back.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from typing import Any


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        """Nothing, but for pandas: that it is not there."""
        if name == "pandas":
            raise ModuleNotFoundError("pandas is left out here", name=name)


@contextmanager
def without_pandas(runner: str) -> Iterator[None]:
    """In the block pandas cannot be imported, unless it has been; pyarrow goes on without it. Afterwards it can.

    Nothing where `runner` is another than `local`: Ray looks for pandas itself.
    """
    if runner != "local":
        yield
        return
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
