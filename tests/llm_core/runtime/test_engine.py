"""Work ahead is bounded, and results come in the order of the items."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llm_core.runtime.engine import ahead, run


@pytest.mark.parametrize("depth", [0, 1, 3])
def test_at_most_depth_and_one_items_are_under_way(depth):
    under_way, most = set(), 0

    def submit(item):
        nonlocal most
        under_way.add(item)
        most = max(most, len(under_way))
        return item

    def collect(item):
        under_way.remove(item)
        return item * item

    assert list(ahead(range(9), submit, collect, depth)) == [(item, item * item) for item in range(9)]
    assert most == depth + 1


def double(item):
    return 2 * item


@pytest.mark.parametrize("workers", [1, 2])
def test_processes_give_the_results_in_order(workers):
    assert list(run(double, list(range(20)), "local", workers)) == [2 * item for item in range(20)]


PROGRAM = """
import sys, time
from llm_core.runtime.engine import run
from tests.llm_core.runtime.test_engine import never, note

if __name__ == "__main__":
    for _ in run(note, [sys.argv[1]] * 4, "local", int(sys.argv[2]), never):
        time.sleep(600)
"""


def note(folder):
    """A piece of work that says who does it."""
    (Path(folder) / str(os.getpid())).touch()
    return os.getpid()


def never(item):
    return False


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_end_with_a_process_that_is_killed(tmp_path, workers):
    """Waiting workers too, forked ones (a single worker) and those of a fork server."""
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "pids").mkdir()
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "pids"), str(workers)]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(root)}) as process:
        end = time.monotonic() + 60
        while len(list((tmp_path / "pids").iterdir())) < 1 and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.5)
        found = [int(file.name) for file in (tmp_path / "pids").iterdir()]
        assert found and all(map(alive, found))
        process.send_signal(signal.SIGKILL)
    while any(map(alive, found)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(alive, found))


def alive(process):
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
