"""Generated hostile files through fetch, clean and dedup, in a process of their own (signals and memory are seen).

pytest -m long tests/fuzz                                  200 files of each kind instead of the 80 of `make test`
LLM_CORE_FUZZ_FILES=10000 pytest -m long tests/fuzz        10,000 of each kind, before a release
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.files import KINDS, make

FILES = int(os.environ.get("LLM_CORE_FUZZ_FILES", "200"))  # of each kind


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_makes_the_same_file(kind):
    assert [make(kind, seed) for seed in range(3)] == [make(kind, seed) for seed in range(3)]


@pytest.mark.slow
@pytest.mark.timeout(320 + FILES)
@pytest.mark.parametrize("files", [80, pytest.param(FILES, marks=pytest.mark.long)])
def test_hostile_files_of_every_kind_lose_nothing_and_break_nothing(files):
    command = [sys.executable, "-m", "tests.fuzz.readers", "--files", str(files)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == len(KINDS)
