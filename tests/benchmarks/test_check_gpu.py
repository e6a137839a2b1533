"""The script of `make check-gpu` runs here as far as it goes without a GPU."""

import os
import runpy
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


def test_what_is_not_reached_or_fails_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    script = runpy.run_path(str(ROOT / "benchmarks/check_gpu.py"))

    def fails() -> dict[str, float]:
        raise ValueError("a reason")

    late, wrong = script["Checks"]("cpu", True, 0, []), script["Checks"]("cpu", True, 60, [])
    late("one", fails)
    wrong("two", fails)
    wrong("three", lambda: {"figure": 1.0})
    said = capsys.readouterr().out
    assert (late.failed, wrong.failed) == (1, 1)
    assert "| one | NOT RUN" in said and "| two | FAILED: ValueError: a reason" in said and "| three | ok" in said
