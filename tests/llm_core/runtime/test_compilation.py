"""Compiled kernels follow the files they are made from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import llm_core.runtime.compilation

CALLED = """\
from llm_core.runtime.compilation import njit

@njit()
def called():
    return {}
"""
CALLER = """\
from llm_core.called import called
from llm_core.runtime.compilation import njit

@njit()
def caller():
    return called()
"""
SHOW = "from llm_core.caller import caller; print(caller(), sum(caller.stats.cache_hits.values()))"


def test_a_change_of_another_file_reaches_a_cached_kernel(tmp_path: Path) -> None:
    package = tmp_path / "llm_core"
    (package / "runtime").mkdir(parents=True)
    shutil.copy(llm_core.runtime.compilation.__file__, package / "runtime")
    (package / "caller.py").write_text(CALLER)

    def run(value: int) -> list[int]:
        (package / "called.py").write_text(CALLED.format(value))
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        shown = subprocess.check_output([sys.executable, "-c", SHOW], env=environment, cwd=tmp_path, text=True)
        return [int(number) for number in shown.split()]

    assert run(1) == [1, 0]
    assert run(1) == [1, 1], "from the cache"
    assert run(2) == [2, 0], "its own file is the same"
