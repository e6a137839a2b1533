"""Lengths that are not so, written into real files: each is refused by name, in bounded memory, and ends no process."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.llm_core.formats import forged

REFUSED = {
    "parquet": "quarantine_parquet",
    "zst": "quarantine_truncated",
    "xz": "quarantine_truncated",
}


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the bound on memory is Linux's")
def test_no_claimed_length_is_believed(tmp_path):
    forged.make(tmp_path)
    command = [sys.executable, "-m", "tests.llm_core.formats.forged", str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert max(outcome["megabytes"] for outcome in outcomes) < 600
    kinds: Counter[str] = Counter()
    for outcome in outcomes:
        ending = outcome["name"].rpartition(".")[2]
        kinds[ending] += 1
        if ending == "arrow":
            assert outcome["outcome"] == "read" or outcome["outcome"].startswith("refused: "), outcome
        else:
            assert outcome["outcome"] == REFUSED[ending], outcome
    assert kinds["parquet"] == 16 and kinds["zst"] == 3 and kinds["xz"] == 1 and kinds["arrow"] > 300
