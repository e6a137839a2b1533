"""What holds for all tests: the garbage collector leaves imported modules alone."""

import gc
import sys

import pytest

NEW_MODULES = 50
frozen = 0  # modules that were imported when the collector was last told


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
