"""DeepSpeed's runner over two hosts by ssh trains what one process trains; the hosts get the variables they need."""

import os
import shutil
from pathlib import Path

import pytest

from llm_core.training.pretraining.launch import _carried
from tests.llm_core.training.pretraining import tiny
from tests.two_hosts import TwoHosts, sshd, why_not

SETTINGS = {"pretraining__steps": 4}


def test_variables_are_carried_and_the_users_own_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / ".deepspeed_env").write_text("GLOO_SOCKET_IFNAME=eth1\n\n")
    environment = {"GLOO_SOCKET_IFNAME": "eth0", "NCCL_DEBUG": "a b", "HF_TOKEN": "secret", "OMP_NUM_THREADS": "1"}
    told = _carried(environment, tmp_path).read_text()
    assert told == "GLOO_SOCKET_IFNAME=eth0\nNCCL_DEBUG=a b\nOMP_NUM_THREADS=1\nGLOO_SOCKET_IFNAME=eth1\n"


@pytest.mark.slow
@pytest.mark.skipif(not (sshd() and shutil.which("pdsh")), reason="OpenSSH's server or pdsh is not installed")
def test_two_hosts_by_ssh_train_what_one_process_trains(tmp_path: Path) -> None:
    if why := why_not():
        pytest.skip(why)
    folder = tiny.make(tmp_path)
    (tmp_path / "ssh").mkdir()
    with TwoHosts(tmp_path / "ssh") as hosts:
        client = hosts.start_ssh()
        (folder / "hosts").write_text("".join(f"{hosts.network}.{host} slots=1\n" for host in (1, 2)))
        verb = tiny.command(folder, "two", **SETTINGS, launch__pretraining__hostfile="hosts")
        over = {"PATH": f"{client}:{os.environ['PATH']}", "GLOO_SOCKET_IFNAME": "eth0"}
        done = hosts.run(1, *verb, cwd=folder, env=tiny.environment() | over)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "2 process(es)" in done.stdout + done.stderr
    alone = tiny.run(folder, "one", **SETTINGS)
    assert alone.returncode == 0, alone.stderr
    assert tiny.losses(folder, "two") == pytest.approx(tiny.losses(folder, "one"), rel=1e-5)
