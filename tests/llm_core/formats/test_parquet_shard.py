"""A shard is what one writer of Arrow's would have written, and its row groups leave nothing in memory."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_core.formats.parquet_shard import GROUPS, ParquetShard

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("text", pa.large_string()),
        pa.field("language", pa.string()),
        pa.field("offset", pa.int64()),
    ]
)
SETTINGS: dict[str, Any] = {"compression": "zstd", "use_dictionary": ["language"], "write_batch_size": 64}


def tables(count: int, rows: int) -> Iterator[pa.Table]:
    """Tables whose row groups differ in their bytes: texts of many lengths, a column of nulls in every third."""
    for number in range(count):
        texts = [f"text {row} of {number} " * (row % 7) or None for row in range(rows)]
        columns = [
            pa.array([f"{number}-{row}" for row in range(rows)]),
            pa.array(texts, pa.large_string()),
            pa.nulls(rows, pa.string()) if number % 3 else pa.repeat("en", rows),
            pa.array(range(number * rows, (number + 1) * rows), pa.int64()),
        ]
        yield pa.table(columns, schema=SCHEMA)


@pytest.mark.parametrize("count", [0, 1, 14, 15, GROUPS - 1, GROUPS, GROUPS + 1, 3 * GROUPS + 5])
@pytest.mark.parametrize("rows", [0, 9, 200])
def test_the_bytes_are_those_of_one_writer(tmp_path: Path, count: int, rows: int) -> None:
    shard = ParquetShard(tmp_path / "shard.parquet", SCHEMA, **SETTINGS)
    with pq.ParquetWriter(tmp_path / "whole.parquet", SCHEMA, **SETTINGS) as whole:
        for table in tables(count, rows):
            shard.write_table(table)
            whole.write_table(table, row_group_size=max(rows, 1))
    shard.close()
    assert (tmp_path / "shard.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert pq.read_table(tmp_path / "shard.parquet").num_rows == count * rows
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shard.parquet", "whole.parquet"]


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    """/dev/full takes no byte, and says so when the buffer of the file is written out."""
    (tmp_path / "shard.parquet").symlink_to("/dev/full")
    shard = ParquetShard(tmp_path / "shard.parquet", SCHEMA, **SETTINGS)
    with pytest.raises(OSError, match="No space left"):
        for table in tables(GROUPS, 200):
            shard.write_table(table)
        shard.close()


PROBE = """
import os, re, sys
os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"
import pyarrow as pa
from pathlib import Path
from llm_core.formats.parquet_shard import ParquetShard

def private():
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1])

names = [f"column {number}" for number in range(20)]
schema = pa.schema([(name, pa.string()) for name in names])
table = pa.table([pa.array(["a", "b"])] * 20, schema=schema)
shard = ParquetShard(Path(sys.argv[1]), schema, compression="zstd")
for _ in range(200):
    shard.write_table(table)
before = private()
for _ in range(2000):
    shard.write_table(table)
shard.close()
print(private() - before)
"""


def test_memory_does_not_grow_with_row_groups(tmp_path: Path) -> None:
    """One writer took 73 MB more for these 2,000 row groups of 20 columns."""
    command = [sys.executable, "-c", PROBE, str(tmp_path / "shard.parquet")]
    grown = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert grown < 6 << 10  # KiB
