"""A program that starts warm is a process as any other: its own folder, variables, files, code, exit and end."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import wait
from tests.warm import start

CODE = """
import os, sys, time
print(os.getpid(), os.getcwd(), os.environ.get("WORD"), sys.argv[1:], sys.stdin.read(), __name__, flush=True)
print("aside", file=sys.stderr)
if "sleep" in sys.argv:
    time.sleep(100)
if "die" in sys.argv:
    os.kill(os.getpid(), 9)
sys.exit(7)
"""


@pytest.fixture(scope="module")
def command() -> list[str]:
    """A command line that runs a module; it ends before the module's name."""
    client = Path(start.__file__).with_name("client.py")
    return [sys.executable, "-IS", str(client), start._address(("json",)), sys.executable, "no"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables by which the module is found."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code/toy_program.py").write_text(CODE)
    return os.environ | {"PYTHONPATH": str(tmp_path / "code"), "WORD": "given"}


def run(command: list[str], folder: Path, environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, "toy_program", *words], cwd=folder, env=environment, input="typed", capture_output=True, text=True
    )


def test_it_has_the_folder_variables_arguments_and_files_of_its_client(
    command: list[str], tmp_path: Path, environment: dict[str, str]
) -> None:
    done = run(command, tmp_path, environment, "one", "two words")
    process, *shown = done.stdout.split(maxsplit=1)
    assert shown == [f"{tmp_path} given ['one', 'two words'] typed __main__\n"]
    assert done.stderr == "aside\n" and done.returncode == 7
    again = run(command, tmp_path, environment)
    assert again.stdout.split()[0] != process, "another process"
    missing = run(command, tmp_path, environment | {"PYTHONPATH": ""})
    assert missing.returncode == 1 and "No module named toy_program" in missing.stderr


def test_its_end_is_its_clients_and_its_clients_end_is_its_own(
    command: list[str], tmp_path: Path, environment: dict[str, str]
) -> None:
    assert run(command, tmp_path, environment, "die").returncode == -signal.SIGKILL
    for sent in (signal.SIGTERM, signal.SIGKILL):
        client = subprocess.Popen(
            [*command, "toy_program", "sleep"], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert client.stdout
        process = Path("/proc", client.stdout.readline().split()[0])
        assert process.exists()
        client.send_signal(sent)
        assert client.wait() == -sent
        wait(lambda process=process: not process.exists(), 20, "the program to end with its client")  # type: ignore[misc]


def test_a_signal_that_the_tests_ignore_and_block_ends_a_program(tmp_path: Path, environment: dict[str, str]) -> None:
    """Dagster sets SIGTERM as it finds SIGINT, which a background job of a shell ignores."""
    client = Path(start.__file__).with_name("client.py")
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN), signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    program = subprocess.Popen(
        [sys.executable, "-IS", str(client), start._address(("json",)), sys.executable, "no", "toy_program", "sleep"],
        cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    try:
        assert program.stdout and program.stdout.readline()
        program.send_signal(signal.SIGTERM)
        assert program.wait(timeout=20) == -signal.SIGTERM
    finally:
        program.kill()
        signal.signal(signal.SIGTERM, before[0])
        signal.pthread_sigmask(signal.SIG_SETMASK, before[1])


@pytest.mark.parametrize("said", ["nothing", "half", "all"])
def test_the_server_outlives_a_client_that_dies_while_it_asks(
    command: list[str], tmp_path: Path, environment: dict[str, str], said: str
) -> None:
    request = {
        "arguments": ["toy_program"],
        "environment": environment,
        "folder": str(tmp_path),
        "python": sys.executable,
    }
    body = json.dumps(request | {"here": False}).encode()
    server = start._servers[-1].pid
    os.kill(server, signal.SIGSTOP)  # so that the client has died when it is answered
    with socket.socket(socket.AF_UNIX) as client, open(os.devnull, "r+b") as file:
        client.connect(command[3])
        if said != "nothing":
            socket.send_fds(client, [len(body).to_bytes(8, "big")], [file.fileno()] * 3)
            client.sendall(body if said == "all" else body[:20])
    os.kill(server, signal.SIGCONT)
    done = run(command, tmp_path, environment)
    assert done.returncode == 7, done.stderr


def test_verbs_and_dvc_on_its_path_are_clients_and_what_else_python_runs_is_python() -> None:
    for name in ("llm-core", "dvc"):
        assert str(Path(start.__file__).with_name("client.py")) in Path(start.path().split(":")[0], name).read_text()
    shown = [start.python(), "-c", "import sys; print(sys.argv)", "a b"]
    assert subprocess.run(shown, capture_output=True, text=True).stdout == "['-c', 'a b']\n"


def test_processes_of_pytest_share_the_servers_of_the_first() -> None:
    place = "from tests.warm import start; print(start.path().split(':')[0])"
    code = f"import subprocess, sys; from tests.warm import start; start.share(); {place.partition('; ')[2]}"
    code += f"; print(subprocess.check_output([sys.executable, '-c', {place!r}], text=True))"
    alone = {name: value for name, value in os.environ.items() if name != start.SHARED}
    first, second = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(start.__file__).parents[2], env=alone, stdout=subprocess.PIPE, text=True
    ).stdout.split()  # fmt: skip
    assert first == second
    wait(lambda: not Path(first).exists(), 20, "the servers to end and to remove their folder")


def test_shared_servers_can_have_imported_their_packages_before_the_first_process_goes_on() -> None:
    code = """
from pathlib import Path
from tests.warm import start
start.LIGHT = start.HEAVY = start.DVC = ("numpy",)
start.share(imported=True)
print(["numpy" in Path(f"/proc/{server.pid}/maps").read_text() for server in start._servers])
"""
    alone = {name: value for name, value in os.environ.items() if name != start.SHARED}
    shown = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(start.__file__).parents[2], env=alone, stdout=subprocess.PIPE, text=True
    ).stdout  # fmt: skip
    assert shown == "[True, True, True]\n"
