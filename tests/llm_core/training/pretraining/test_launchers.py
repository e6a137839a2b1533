"""Two launcher nodes on loopback, one process each, train what one process trains.

`deepspeed.launcher.launch --node_rank N` is what DeepSpeed's runner starts on every line of a hostfile by ssh.
"""

import base64
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.llm_core.training.pretraining import tiny

SETTINGS = {"pretraining__steps": 4}


def node(rank: int, port: int) -> list[str]:
    """The command that starts node `rank` of two."""
    hosts = base64.urlsafe_b64encode(json.dumps({"node0": [0], "node1": [0]}).encode()).decode()
    return [sys.executable, "-m", "deepspeed.launcher.launch", "--world_info", hosts, "--node_rank", str(rank),
            "--master_addr", "127.0.0.1", "--master_port", str(port), "--no_local_rank", "--module"]  # fmt: skip


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
