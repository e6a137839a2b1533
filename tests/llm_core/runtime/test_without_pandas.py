"""A verb that needs no data frames starts without pandas, and leaves it to be imported later."""

import subprocess
import sys
from pathlib import Path

from llm_core.formats.documents import DocumentWriter

PROBE = """
import sys
from llm_core.cli.dedup import app
app(["--in", "in", "--out", "out", "--params", "none.yaml"], standalone_mode=False)
print("pandas" in sys.modules)
import pyarrow
print(pyarrow.table({"a": [1, 2]}).to_pandas()["a"].sum())
"""


def test_dedup_imports_no_pandas_and_whoever_comes_later_can(tmp_path: Path) -> None:
    with DocumentWriter(tmp_path / "in/documents") as writer:
        writer.write_rows([{"id": str(row), "source": "a", "text": f"text number {row}"} for row in range(3)])
    (tmp_path / "none.yaml").touch()
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-2:] == ["False", "3"]
