"""Compiled kernels follow the files they are made from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import llm_core.runtime.compilation


@pytest.fixture(autouse=True)
def no_named_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)


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


def test_copies_of_the_project_share_a_cache_that_is_named_and_versions_do_not(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run(copy: str, value: int) -> list[int]:
        package = tmp_path / copy / "llm_core"
        (package / "runtime").mkdir(parents=True, exist_ok=True)
        shutil.copy(llm_core.runtime.compilation.__file__, package / "runtime")
        (package / "caller.py").write_text(CALLER)
        (package / "called.py").write_text(CALLED.format(value))
        there = environment | {"PYTHONPATH": str(tmp_path / copy)}
        shown = subprocess.check_output([sys.executable, "-c", SHOW], env=there, cwd=package, text=True)
        return [int(number) for number in shown.split()]

    assert run("one", 1) == [1, 0]
    assert run("two", 1) == [1, 1], "what the first copy compiled"
    assert run("three", 2) == [2, 0], "another version"
    assert run("one", 1) == [1, 1], "still there"


def test_processes_that_save_one_kernel_for_different_types_do_not_mix_them_up(tmp_path: Path) -> None:
    package = tmp_path / "llm_core"
    (package / "runtime").mkdir(parents=True)
    shutil.copy(llm_core.runtime.compilation.__file__, package / "runtime")
    kernel = "from llm_core.runtime.compilation import njit\n\n@njit()\ndef kernel(x):\n    return x + x\n"
    (package / "kernel.py").write_text(kernel)
    values = ["1", "1.5", "1j", "(1, 2)", "True", "'a'"]
    show = "import sys; from llm_core.kernel import kernel; print(kernel(eval(sys.argv[1])))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for _ in range(2):  # compiled, and read from the cache
        running = [
            subprocess.Popen(
                [sys.executable, "-c", show, value], env=environment, cwd=tmp_path, text=True, stdout=subprocess.PIPE
            )
            for value in values
        ]
        shown = [process.communicate()[0].strip() for process in running]
        assert shown == [str(eval(value) + eval(value)) for value in values]
    index = next((package / "__pycache__").glob("kernel.kernel-*.nbi"))
    assert len(list(index.parent.glob(f"{index.stem}.*.nbc"))) == len(values)


def test_a_constant_of_a_file_without_kernels_reaches_a_cached_kernel(tmp_path: Path, monkeypatch) -> None:
    from llm_core.runtime import compilation

    monkeypatch.setattr(compilation, "ROOT", tmp_path)
    (tmp_path / "llm_core/room").mkdir(parents=True)
    kernel = tmp_path / "llm_core/kernel.py"
    kernel.write_text("from llm_core.room import helpers\nfrom llm_core.room.numbers import (\n    LIMIT,\n)\n# njit\n")
    stamps = set()
    for limit, helper, other in ((1, "njit 1", 1), (2, "njit 1", 1), (2, "njit 2", 1), (2, "njit 2", 2)):
        (tmp_path / "llm_core/room/numbers.py").write_text(f"LIMIT = {limit}\n")
        (tmp_path / "llm_core/room/helpers.py").write_text(f"# {helper}\nfrom llm_core.room.other import plain\n")
        (tmp_path / "llm_core/room/other.py").write_text(f"plain = {other}\n")
        compilation.stamp.cache_clear()
        stamps.add(compilation.stamp(str(kernel)))
    assert len(stamps) == 3  # the last change is of a file from which no kernel and no constant is taken


def test_a_cache_that_names_a_module_that_has_moved_is_left_aside(tmp_path: Path) -> None:
    package = tmp_path / "llm_core"
    (package / "runtime").mkdir(parents=True)
    shutil.copy(llm_core.runtime.compilation.__file__, package / "runtime")
    body = "from typing import NamedTuple\n\n\nclass Pair(NamedTuple):\n    left: int\n"
    kernel = (
        "from llm_core.runtime.compilation import njit\nfrom llm_core.{} import Pair\n\n"
        "@njit()\ndef caller(pair):\n    return pair.left\n"
    )
    show = "from llm_core.caller import Pair, caller; print(caller(Pair(3)))"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for place in ("here", "there"):
        (package / f"{place}.py").write_text(body)
        (package / "caller.py").write_text(kernel.format(place))
        shown = subprocess.check_output([sys.executable, "-c", show], env=environment, cwd=tmp_path, text=True)
        assert int(shown) == 3
        (package / f"{place}.py").unlink()
