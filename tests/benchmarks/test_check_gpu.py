"""The script of `make check-gpu` runs here as far as it goes without a GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The script, on a machine where PyTorch finds no GPU."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "benchmarks/check_gpu.py"), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_it_is_skipped_with_a_reason_where_there_is_no_gpu() -> None:
    done = check()
    assert done.returncode == 0 and "skipped, because PyTorch finds no GPU" in done.stdout, done.stderr


@pytest.mark.slow
def test_it_trains_resumes_and_finetunes() -> None:
    names = ["pretraining, fp32", "resumed", "fp16", "sentence_pairs, qlora"]
    done = check("--device", "cpu", "--tiny", "--only", *names)
    rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][1:]
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert [row[1] for row in rows] == ["ok", "skipped: needs a GPU", "ok", "ok"]
    assert "first loss" in rows[0][-1] and float(rows[0][3].replace(",", "")) > 0


@pytest.mark.slow
def test_what_is_not_reached_or_fails_is_a_failure() -> None:
    done = check("--device", "cpu", "--tiny", "--seconds", "0", "--only", "pretraining, fp32")
    assert done.returncode == 1 and "NOT RUN" in done.stdout and "1 failed" in done.stdout
