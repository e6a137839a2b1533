"""For all tests: copies of the project share compiled kernels; imported modules are exempt from garbage collection."""

import gc
import os
import sys
from pathlib import Path

import pytest

# Before anything imports numba. A copy of the project in a temporary folder would compile every kernel anew.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache/kernels"))
NEW_MODULES = 50
frozen = 0  # how many modules were imported when they were last exempted


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Exempt from garbage collection what imports have made.

    After torch and transformers are imported, a full collection takes 0.5 s. A training calls three, which were two
    thirds of the CPU time of a training of a tiny model.
    """
    global frozen
    if len(sys.modules) >= frozen + NEW_MODULES:
        gc.collect()
        gc.freeze()
        frozen = len(sys.modules)


def pytest_sessionfinish() -> None:
    gc.unfreeze()  # else libraries report at exit what was not collected
