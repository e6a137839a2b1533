"""The data path on a real Ray cluster of two nodes: the bytes of this machine, also where a node is killed.

Where network namespaces may not be made, a Ray of this machine takes the place of the cluster. More kills, in every
stage: benchmarks/ray_kills.py.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm_core.runtime.digests import content_digest
from tests.data_path import STAGES, write_corpus
from tests.two_hosts import TwoHosts, sshd, why_not

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]  # slow cores and three more processes of tests
ON_NODES = re.compile(r"launch\.(\w+)\.runner: ray: \d+ pieces \((.*)\)")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    write_corpus(folder)
    subprocess.run([sys.executable, "-m", "tests.data_path", str(folder), "local"], check=True, timeout=1200)
    return folder


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoHosts]:
    if why := why_not():
        pytest.skip(why)
    with TwoHosts(tmp_path_factory.mktemp("r")) as up:
        up.start_ray(1)
        up.start_ray(2)
        yield up


def program(work: Path) -> list[str]:
    """The data path on Ray."""
    return [sys.executable, "-m", "tests.data_path", str(work), "ray"]


def test_two_nodes_write_the_same_bytes(work: Path, hosts: TwoHosts) -> None:
    """Both have worked on every stage."""
    done = hosts.run(1, *program(work))
    assert done.returncode == 0, done.stderr
    nodes: dict[str, set[str]] = {}
    for section, found in ON_NODES.findall(done.stderr):
        nodes.setdefault(section, set()).update(re.findall(r"\d+ on (\S+?)(?:,|$)", found))
    both = {f"{hosts.network}.1", f"{hosts.network}.2"}
    assert len(nodes) == 9 and all(found == both for found in nodes.values()), nodes
    for stage in STAGES:
        assert content_digest(work / "ray" / stage) == content_digest(work / "local" / stage), stage


@pytest.mark.long
def test_one_node_writes_the_same_bytes_after_a_kill_of_the_other(work: Path, hosts: TwoHosts) -> None:
    """The second node is killed while it encodes."""
    with subprocess.Popen(hosts.command(1, *program(work), "tokenize"), env=hosts.environment) as process:
        hosts.kill_in_a_task(2, 60)
        assert process.wait(300) == 0
    assert content_digest(work / "ray/tokenize") == content_digest(work / "local/tokenize")


@pytest.mark.skipif(not why_not(), reason="two nodes do the same, and more")
def test_ray_of_one_machine_writes_the_same_bytes(work: Path) -> None:
    subprocess.run([sys.executable, "-m", "tests.data_path", str(work), "ray"], check=True, timeout=1200)
    for stage in STAGES:
        assert content_digest(work / "ray" / stage) == content_digest(work / "local" / stage), stage


def end(item: str) -> None:
    """Ends its process where the item is bad, as too little memory would."""
    if item == "bad":
        os._exit(1)


def test_a_piece_whose_worker_always_dies_is_named(hosts: TwoHosts) -> None:
    program = f"from {__name__} import end; from llm_core.runtime.engine import on_ray; "
    program += "list(on_ray(end, ['good', 'bad'], (), 'launch.split.runner', 0))"
    done = hosts.run(1, sys.executable, "-c", program)
    assert done.returncode == 1 and "UserError: launch.split.runner: bad: lost 4 times with its" in done.stderr


@pytest.mark.skipif(sshd() is None, reason="OpenSSH's server is not installed")
def test_one_command_starts_a_cluster_by_ssh_and_ends_it(tmp_path: Path, hosts: TwoHosts) -> None:
    """The command sees both nodes; afterwards nothing of that cluster runs on either host."""
    script, client = Path(__file__).parents[3] / "deploy/ray-on-hosts", hosts.start_ssh()
    before = [set(hosts.processes(host)) for host in (1, 2)]
    chosen = {"RAY_HEAD": f"{hosts.network}.1", "RAY_CPUS": "1", "PATH": f"{client}:{os.environ['PATH']}"}
    others = {name: value for name, value in hosts.environment.items() if not name.startswith("RAY_")}
    command = (str(script), f"{hosts.network}.2", "ray", "status")
    done = hosts.run(1, *command, env=others | chosen, cwd=tmp_path)
    assert done.returncode == 0 and "/2.0 CPU" in done.stdout, done.stdout + done.stderr
    assert [set(hosts.processes(host)) - old for host, old in zip((1, 2), before, strict=True)] == [set(), set()]
    assert not list((tmp_path / ".scratch").iterdir())


def test_a_cluster_runs_nothing_without_its_token(work: Path, hosts: TwoHosts) -> None:
    command = [sys.executable, "-m", "llm_core.cli", "tokenize", "--in", "split", "--tokenizer", "train-tokenizer"]
    command += ["--out", "refused", "--set", "launch.tokenization.runner=ray"]
    stranger = hosts.environment | {"RAY_AUTH_TOKEN": "0" * 64}
    done = hosts.run(1, *command, cwd=work / "local", env=stranger)
    assert done.returncode == 1 and "launch.tokenization.runner: no Ray at" in done.stderr, done.stderr
    assert not (work / "local/refused").exists()
