"""Two launcher nodes on loopback, one process each, train what one process trains.

`deepspeed.launcher.launch --node_rank N` is what DeepSpeed's runner starts on every line of a hostfile by ssh.
"""

import base64
import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from llm_core.params.launch import TrainingLaunch
from llm_core.params.pretraining import Pretraining
from llm_core.training.pretraining.launch import _command, sharing
from tests.llm_core.training.pretraining import tiny
from tests.warm import start

SETTINGS = {"pretraining__steps": 4}


def node(rank: int, port: int) -> list[str]:
    """The command that starts node `rank` of two."""
    hosts = base64.urlsafe_b64encode(json.dumps({"node0": [0], "node1": [0]}).encode()).decode()
    return [start.python(), "-m", "deepspeed.launcher.launch", "--world_info", hosts, "--node_rank", str(rank),
            "--master_addr", "127.0.0.1", "--master_port", str(port), "--no_local_rank", "--module"]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "most", "wanted"),
    [
        ({"batch_tokens": 4096, "sequence_length": 512}, 2, 2),
        ({"batch_tokens": 4096, "sequence_length": 512}, 64, 8),  # eight sequences a step
        ({"batch_tokens": 4096, "sequence_length": 512}, 7, 4),
        ({"batch_tokens": 4096, "sequence_length": 512}, 1, 1),
        ({"batch_tokens": 1536, "sequence_length": 512}, 2, 1),  # three cannot be shared by two
        ({"sequence_length": 512}, 8, 1),  # the batch would follow from the number of processes
        ({"sequence_length": 512, "sequence_parallel": 2}, 8, 2),  # likewise: one group
        (
            {"sequence_length": 512, "steps": 9, "phases": [{"name": "one", "share": 1, "batch_tokens": 4096}]},
            64,
            8,  # its phases set it
        ),
        ({"batch_tokens": 4096, "sequence_length": 512, "sequence_parallel": 2}, 5, 4),
        ({"batch_tokens": 4096, "sequence_length": 512, "sequence_parallel": 2}, 1, 2),  # which `check` refuses later
        (
            {
                "batch_tokens": 4096,
                "sequence_length": 512,
                "steps": 9,
                "phases": [
                    {"name": "short", "share": 8, "sequence_length": 128, "batch_tokens": 384},
                    {"name": "long", "share": 1},
                ],
            },
            8,
            1,  # three and eight sequences
        ),
    ],
)
def test_processes_share_the_sequences_of_every_step_equally(settings: dict[str, Any], most: int, wanted: int) -> None:
    assert sharing(Pretraining.model_validate(settings), most) == wanted


@pytest.mark.parametrize(
    ("visible", "wanted"), [("2,3", [2, 3]), ("5,6,7", [5, 6]), ("", [0, 1]), ("1", [0, 1]), ("GPU-a,GPU-b", [0, 1])]
)
def test_processes_have_the_gpus_that_the_user_chose(
    visible: str, wanted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    command = _command(TrainingLaunch(processes=2), ["pretrain"])
    hosts = json.loads(base64.urlsafe_b64decode(command[command.index("--world_info") + 1]))
    assert hosts == {"localhost": wanted}


@pytest.mark.slow
def test_two_nodes_on_loopback_train_what_one_process_trains(tmp_path: Path) -> None:
    folder = tiny.make(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    verb = tiny.command(folder, "two", **SETTINGS)[2:]  # llm_core.cli pretrain …
    nodes = [
        subprocess.Popen(
            [*node(rank, port), *verb],
            cwd=folder, env=tiny.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    told = [process.communicate(timeout=300)[0] for process in nodes]
    assert [process.returncode for process in nodes] == [0, 0], told
    assert "2 process(es)" in told[0] + told[1]
    alone = tiny.run(folder, "one", **SETTINGS)
    assert alone.returncode == 0, alone.stderr
    assert tiny.losses(folder, "two") == pytest.approx(tiny.losses(folder, "one"), rel=1e-5)
