"""Generated hostile files through fetch, clean and dedup, in a process of their own (signals and memory are seen).

LLM_CORE_FUZZ_FILES=10000 pytest -m slow tests/fuzz        the full number of files of each kind
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.files import KINDS, make

FILES = int(os.environ.get("LLM_CORE_FUZZ_FILES", "200"))  # of each kind; 10000 before a release


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_makes_the_same_file(kind):
    assert [make(kind, seed) for seed in range(3)] == [make(kind, seed) for seed in range(3)]


@pytest.mark.slow
@pytest.mark.timeout(120 + FILES)
def test_hostile_files_of_every_kind_lose_nothing_and_break_nothing():
    command = [sys.executable, "-m", "tests.fuzz.readers", "--files", str(FILES)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == len(KINDS)
