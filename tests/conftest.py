"""For all tests: copies of the project share compiled kernels."""

import os
from pathlib import Path

# Before anything imports numba. A copy of the project in a temporary folder would compile every kernel anew.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".pytest_cache/kernels"))
