"""Two hosts on one machine: two network namespaces with an address each, joined by a pair of virtual interfaces.

A Ray started in each makes a real cluster of two nodes, with a raylet and workers of their own, that talk over the
network. Making namespaces takes root (CAP_NET_ADMIN, CAP_SYS_ADMIN) and iproute2: `why_not` says what is missing.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PORT = 6399
STORE_BYTES = 100 << 20  # of Ray's object store of each node
TASK = b"ray::in_folder"  # how Ray names a worker process while it runs a task of `runtime.engine.on_ray`


def why_not() -> str:
    """Why two hosts cannot be made here; empty where they can."""
    if shutil.which("ip") is None:
        return "iproute2 (the command ip) is not installed"
    name = f"llm-{os.getpid()}-try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespace may be made here ({made.stderr.strip()})"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return ""


def sshd() -> str | None:
    """Where OpenSSH's server is, if it is installed."""
    return shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")


class TwoHosts:
    """Hosts 1 and 2, up while the block lasts; what runs in them is ended with it. `folder` gets Ray's own files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = [f"llm-{os.getpid()}-{host}" for host in (1, 2)]
        self.network = f"10.77.{os.getpid() % 254}"
        self.address = f"{self.network}.1:{PORT}"
        self.environment = os.environ | {
            "RAY_ADDRESS": self.address,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # not 15: beside other tests on the same cores the workers would hardly run
            # a node is found to be dead after three seconds, not thirty
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
        }

    def __enter__(self) -> Self:
        try:
            for name in self.names:
                _ip("netns", "add", name)
            ends = [f"l{os.getpid() % 10**7}-{host}" for host in (1, 2)]
            _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
            for host, (name, end) in enumerate(zip(self.names, ends, strict=True), start=1):
                _ip("link", "set", end, "netns", name)
                _ip("-n", name, "link", "set", end, "name", "eth0")
                _ip("-n", name, "addr", "add", f"{self.network}.{host}/24", "dev", "eth0")
                _ip("-n", name, "link", "set", "eth0", "up")
                _ip("-n", name, "link", "set", "lo", "up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for host, name in enumerate(self.names, start=1):
            if Path("/run/netns", name).exists():
                self.kill(host)
                _ip("netns", "del", name)

    def command(self, host: int, *command: str) -> list[str]:
        """The command that runs `command` on a host."""
        return ["ip", "netns", "exec", self.names[host - 1], *command]

    def run(self, host: int, *command: str, **settings: Any) -> subprocess.CompletedProcess[str]:
        """Run a command on a host, with the environment of the cluster, to its end."""
        given = {"env": self.environment, "capture_output": True, "text": True, "timeout": 1200} | settings
        return subprocess.run(self.command(host, *command), **given)

    def start_ray(self, host: int) -> None:
        """Start Ray on a host, with one CPU; host 1 is the head."""
        head = ("--head", f"--port={PORT}", f"--temp-dir={self.folder}", "--include-dashboard=false")
        role = head if host == 1 else (f"--address={self.address}",)
        settings = (f"--node-ip-address={self.network}.{host}", "--num-cpus=1", f"--object-store-memory={STORE_BYTES}")
        started = self.run(host, sys.executable, "-m", "ray.scripts.scripts", "start", *role, *settings)
        if started.returncode:
            raise RuntimeError(f"Ray did not start on host {host}: {started.stdout}{started.stderr}")

    def start_ssh(self) -> str:
        """Start sshd on both hosts, for a key of their own; returns a folder for PATH whose `ssh` has it."""
        for name in ("key", "host"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.folder / name], check=True)
        server = f"HostKey {self.folder}/host\nAuthorizedKeysFile {self.folder}/key.pub\nPidFile none\n"
        server += "StrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\n"
        (self.folder / "sshd").write_text(server)
        client = f"Host {self.network}.*\n  IdentityFile {self.folder}/key\n  StrictHostKeyChecking no\n"
        client += "  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
        (self.folder / "ssh").write_text(client)
        (self.folder / "bin").mkdir()
        (self.folder / "bin/ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {self.folder}/ssh "$@"\n')
        (self.folder / "bin/ssh").chmod(0o755)
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd puts the part of itself that has no rights
        for host in (1, 2):
            self.run(host, str(sshd()), "-f", str(self.folder / "sshd"), check=True)
        return str(self.folder / "bin")

    def processes(self, host: int) -> list[int]:
        """The processes of a host."""
        found = subprocess.run(
            ["ip", "netns", "pids", self.names[host - 1]], capture_output=True, text=True, check=True
        )
        return [int(line) for line in found.stdout.split()]

    def kill(self, host: int) -> None:
        """Kill all processes of a host with SIGKILL, as a power cut would, and wait until they are gone."""
        ends = time.monotonic() + 30
        while found := self.processes(host):
            if time.monotonic() > ends:
                raise RuntimeError(f"host {host}: {found} do not end")
            for process in found:
                try:
                    os.kill(process, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.02)

    def kill_in_a_task(self, host: int, seconds: float, pause: float = 0) -> None:
        """Kill a host while one of its workers runs a task, or `pause` seconds later.

        Raises TimeoutError where none does so within `seconds`.
        """
        ends, looked, found = time.monotonic() + seconds, 0.0, []
        while time.monotonic() < ends:
            if time.monotonic() - looked > 0.2:
                found, looked = self.processes(host), time.monotonic()
            for process in found:
                try:
                    named = Path(f"/proc/{process}/cmdline").read_bytes()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if named.startswith(TASK):
                    time.sleep(pause)
                    self.kill(host)
                    return
            time.sleep(0.001)
        raise TimeoutError(f"host {host} ran no task in {seconds} seconds")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
