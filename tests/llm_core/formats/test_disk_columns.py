"""Columns on a disk that is full: an error that can be shown, not a signal that ends the process."""

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from llm_core.formats.disk_columns import ROWS_AT_ONCE, Column, divide

FILL = """
import sys
from pathlib import Path
import numpy as np
from llm_core.formats.disk_columns import ROWS_AT_ONCE, Column, divide
column = Column(Path(sys.argv[1]), np.int64)
try:
    for _ in range(1000):
        column.append(np.arange(1000))
except OSError as error:
    print(error, len(column) == column.values[999:].size + 999, column.values[-1])
"""


def test_what_was_appended_is_read_back_at_every_size(tmp_path):
    column = Column(tmp_path, np.int32, width=3)
    for count in (0, 1, 5000, 3, 70_000):
        column.append(np.full((count, 3), count, np.int32))
    assert len(column) == 75_004
    assert [column.values[row].tolist() for row in (0, 1, 5001, 5004)] == [[1] * 3, [5000] * 3, [3] * 3, [70_000] * 3]
    column.resize(80_000)
    assert not column.values[75_004:].any()


def test_a_full_disk_is_an_error_and_what_was_there_stays(tmp_path):
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", tmp_path]).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        done = subprocess.run([sys.executable, "-c", FILL, tmp_path], capture_output=True, text=True)
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert done.returncode == 0, done
    assert done.stdout == f"[Errno 28] No space left on device: '{tmp_path}' True 999\n"


def test_a_file_that_may_not_grow_is_an_error_too(tmp_path):
    """Where no small disk can be mounted, a limit on the size of files refuses the blocks as a full disk does."""
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))"
    done = subprocess.run([sys.executable, "-c", f"{limit}\n{FILL}", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done
    assert done.stdout == "[Errno 27] File too large True 999\n"


def test_rows_are_divided_into_parts_in_their_order(tmp_path):
    draw = np.random.default_rng(0)
    rows = Column(tmp_path, np.uint64, 2)
    values = np.column_stack([draw.integers(0, 1 << 60, 3 * ROWS_AT_ONCE + 5), np.arange(3 * ROWS_AT_ONCE + 5)])
    rows.append(values.astype(np.uint64))
    for parts in (1, 7, 70_000):  # 70,000 have no numbers of 16 bits
        numbers = values[:, 0] % parts
        found = list(divide(rows, lambda some, parts=parts: some[:, 0] % np.uint64(parts), parts, tmp_path))
        assert len(found) == parts
        expected = values[np.argsort(numbers, kind="stable")]
        assert np.array_equal(np.concatenate(found), expected)
        assert [len(part) for part in found] == np.bincount(numbers, minlength=parts).tolist()


def test_a_page_is_read_without_those_around_it(tmp_path):
    """As the kernel says of the mapping (`rr`: random read). Read-ahead of megabytes made a stage read 75 times its
    data where memory was short."""
    column = Column(tmp_path, np.int64)
    column.append(np.arange(100_000))
    mappings = Path("/proc/self/smaps").read_text().split("VmFlags:")
    flags = [after.splitlines()[0].split() for before, after in pairwise(mappings) if str(tmp_path) in before]
    assert flags and all("rr" in found for found in flags)
