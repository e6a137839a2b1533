"""Two processes that train on a device of their own, through a process group that refuses what NCCL refuses."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llm_core.errors import UserError
from llm_core.training.pretraining.checkpoints import Seen, check_shared
from llm_core.training.processes import free_port
from tests.llm_core.training.pretraining import tiny
from tests.warm import start

SETTINGS = {"model__layers": 1, "pretraining__steps": 2, "pretraining__zero_stage": 0}


def two(folders: tuple[Path, Path], command: list[str]) -> list[tuple[int, str]]:
    """(exit code, output) of each of two processes that run `command` as ranks of one group, each in its folder."""
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = [
        subprocess.Popen(
            command, cwd=folder, env=tiny.environment() | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank, folder in enumerate(folders)
    ]  # fmt: skip
    said = [process.communicate(timeout=300)[0] for process in ranks]
    return [(process.returncode, text) for process, text in zip(ranks, said, strict=True)]


@pytest.mark.slow
def test_two_processes_on_a_second_device_train_what_one_trains_on_the_cpu(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path)
    command = tiny.command(folder, "two", **SETTINGS)
    assert command[1:3] == ["-m", "llm_core.cli"]
    ended = two((folder, folder), [sys.executable, "-m", "tests.llm_core.second_device", *command[3:]])
    assert [code for code, _ in ended] == [0, 0], ended
    alone = tiny.run(folder, "one", **SETTINGS)
    assert alone.returncode == 0, alone.stderr
    assert tiny.losses(folder, "two") == pytest.approx(tiny.losses(folder, "one"), rel=1e-5)
    heldout = [
        json.loads((folder / name / "metrics.json").read_text())["heldout_bits_per_byte"] for name in ("one", "two")
    ]
    assert heldout[0] == pytest.approx(heldout[1], rel=1e-5)


@pytest.mark.slow
def test_hosts_that_share_no_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    folder = tiny.make(tmp_path / "a")
    shutil.copytree(folder, tmp_path / "b")
    command = [start.python(), *tiny.command(folder, **SETTINGS)[1:]]
    for code, said in two((folder, tmp_path / "b"), command):
        assert code == 1 and "all hosts must share this folder" in said and "process 1 on" in said, said


def test_processes_that_would_resume_at_different_steps_are_named() -> None:
    check_shared(Path("run"), [Seen("a", True, 50), Seen("b", True, 50)])
    with pytest.raises(UserError, match=r"process 0 on a has step 50; process 1 on b has no checkpoint"):
        check_shared(Path("run"), [Seen("a", True, 50), Seen("b", True, 0)])
    with pytest.raises(UserError, match=r"process 1 on b has step 40"):
        check_shared(Path("run"), [Seen("a", True, 50), Seen("b", True, 40)])
    with pytest.raises(UserError, match=r"process 1 on b does not see it"):
        check_shared(Path("run"), [Seen("a", True, 0), Seen("b", False, 0)])
