"""The services of a compose file without Docker: each in Linux namespaces, over an overlay of this machine's files.

A container sees the networks that the file gives it, the names of the services on these, its own processes, its
volumes, and /dev/shm of its size; what it writes elsewhere is gone when it ends. It runs with this machine's programs
instead of an image's. Needs root; nothing outside the namespaces is changed.
"""

import ipaddress
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
START = r"""
set -eu
scratch=$1 hosts=$2 shm=$3 folder=$4 mounts=$5 lower=$6; shift 6
mount --make-rprivate /
mount -t tmpfs tmpfs "$scratch"
root=$scratch/root
mkdir "$scratch/upper" "$scratch/work" "$root"
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$scratch/upper,workdir=$scratch/work" "$root"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o "size=$shm" tmpfs "$root/dev/shm"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root$folder"
chmod 755 "$root/root" # the interpreter may be there
printf %s "$hosts" > "$root/etc/hosts"
printf %s "$mounts" | while IFS="	" read -r source target; do
  if [ -d "$source" ]; then mkdir -p "$root$target"; else mkdir -p "$(dirname "$root$target")"; touch "$root$target"; fi
  mount --rbind "$source" "$root$target"
done
touch "$root/run/ready"
exec chroot "$root" env -i "$@"
"""


def possible() -> str:
    """Why containers cannot run here; "" where they can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    probe = (
        "mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r && mount -t overlay o -o "
        "lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r"
    )
    for command in (["ip", "netns"], ["unshare", "--mount", "--pid", "--net", "--fork", "sh", "-c", probe]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            return f"no {command[0]} here"
        if done.returncode:
            return f"no namespaces here: {done.stderr.strip()}"
    return ""


@dataclass
class Service:
    """One entry of the compose file, as far as it is needed here."""

    networks: list[str]
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    mounts: list[tuple[Path, str]] = field(default_factory=list)
    files: Path = Path("/")
    prepare: str = ""
    user: str = "0:0"
    folder: str = "/"
    shm: str = "64m"
    health: str = ""


class Stack:
    """The services of a compose file."""

    def __init__(self, compose: Path, scratch: Path, variables: dict[str, str]) -> None:
        self.compose, self.scratch, self.variables = compose, scratch, variables
        self.described = yaml.safe_load(compose.read_text(encoding="utf-8"))
        self.names = [*self.described["services"], "visitor"]
        self.tag = f"stack{os.getpid()}"
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.finished: set[str] = set()
        self._interfaces = 0

    def service(self, name: str) -> Service:
        """A service of the file with the variables filled in."""
        text = yaml.safe_dump(self.described["services"][name])
        entry = yaml.safe_load(interpolate(text, self.variables))
        mounts = [self._mount(*volume.split(":")[:2]) for volume in entry.get("volumes", [])]
        for secret in entry.get("secrets", []):
            mounts.append((self.compose.parent / self.described["secrets"][secret]["file"], f"/run/secrets/{secret}"))
        test = entry.get("healthcheck", {}).get("test", "")
        command = entry.get("command", [])
        return Service(
            networks=entry["networks"],
            command=shlex.split(command) if isinstance(command, str) else command,
            environment={key: str(value) for key, value in entry.get("environment", {}).items()},
            mounts=mounts,
            user=entry.get("user", "0:0"),
            shm=entry.get("shm_size", "64m").replace("gb", "g"),
            health=test,
        )

    def _mount(self, source: str, target: str) -> tuple[Path, str]:
        if source in self.described["volumes"]:
            folder = self.scratch / "volumes" / source
            if not folder.exists():
                folder.mkdir(parents=True)
                folder.chmod(0o777)
            return folder, target
        return (self.compose.parent / source).resolve(), target

    def addresses(self, network: str) -> dict[str, str]:
        """Address of each service in a network."""
        number = list(self.described["networks"]).index(network)
        hosts = ipaddress.ip_network(f"10.90.{number}.0/24").hosts()
        return dict(zip(self.names, map(str, hosts), strict=False))

    def make_networks(self) -> None:
        """A switch for each network, and a cable from it to each service that is on it."""
        lines = []
        switch = f"{self.tag}-switch"
        members = {name: entry["networks"] for name, entry in self.described["services"].items()}
        members["visitor"] = ["outside"]
        for name in (switch, *(f"{self.tag}-{member}" for member in members)):
            run("ip", "netns", "add", name)
        for network in self.described["networks"]:
            lines += [f"link add {network} type bridge", f"link set {network} up"]
        run("ip", "-n", switch, "-batch", "-", text="\n".join(lines))
        for member, networks in members.items():
            space, lines = f"{self.tag}-{member}", ["link set lo up"]
            for network in networks:
                self._interfaces += 1
                run("ip", "-n", space, "link", "add", network, "type", "veth", "peer", "name",
                    f"port{self._interfaces}", "netns", switch)  # fmt: skip
                port = f"port{self._interfaces}"
                run("ip", "-n", switch, "-batch", "-", text=f"link set {port} master {network}\nlink set {port} up")
                lines += [
                    f"address add {self.addresses(network)[member]}/24 dev {network}",
                    f"link set {network} up",
                ]
            run("ip", "-n", space, "-batch", "-", text="\n".join(lines))

    def hosts(self, networks: list[str]) -> str:
        """/etc/hosts of a service: the services that share a network with it."""
        lines = ["127.0.0.1 localhost"]
        for network in networks:
            for name, address in self.addresses(network).items():
                if network in self.described["services"].get(name, {}).get("networks", []):
                    lines.append(f"{address} {name}")
        return "\n".join(lines) + "\n"

    def start(self, name: str, service: Service, hosts: str = "") -> None:
        """Start a container; its output goes to `NAME.log`."""
        scratch = self.scratch / name
        scratch.mkdir(exist_ok=True)
        known = [(ROOT, str(ROOT)), (Path(sys.prefix), sys.prefix)]  # these may be file systems of their own
        table = "".join(f"{source}\t{target}\n" for source, target in [*known, *service.mounts])
        variables = [f"{key}={value}" for key, value in service.environment.items()]
        user, group = service.user.split(":")
        # A change of user would end the tie by which the container dies with `unshare`.
        as_user = f"exec setpriv --pdeathsig keep --reuid {user} --regid {group} --clear-groups"
        line = f"{as_user} {shlex.join(service.command)}"
        log = open(self.scratch / f"{name}.log", "ab")  # noqa: SIM115
        self.running[name] = subprocess.Popen(
            [
                *("nsenter", f"--net=/run/netns/{self.tag}-{name}"),
                *("unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child"),
                *("sh", "-c", START, "sh", str(scratch), hosts or self.hosts(service.networks), service.shm),
                *(service.folder, table, str(service.files)),
                *(f"--chdir={service.folder}", *variables, "sh", "-euc", f"{service.prepare}\n{line}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        log.close()

    def kill(self, name: str) -> None:
        """End a container as `docker kill` does: all of its processes at once."""
        process = self.running.pop(name)
        process.kill()
        process.wait(timeout=60)

    def run_in(
        self, name: str, command: list[str], service: Service, text: str = "", check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command in a running container, as `docker exec` does."""
        outer = self.running[name].pid
        inner = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
        if not inner or not Path(f"/proc/{inner[0]}/root/run/ready").exists():
            return subprocess.CompletedProcess(command, 125, "", "the container is not ready")
        variables = [f"{key}={value}" for key, value in service.environment.items()]
        user, group = service.user.split(":")
        done = subprocess.run(
            [
                *("nsenter", f"--target={inner[0]}", "--mount", "--pid", "--net", "--ipc", "--root"),
                *(f"--setuid={user}", f"--setgid={group}"),
                *("env", "-i", f"--chdir={service.folder}", *variables, *command),
            ],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, f"{command} in {name}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def healthy(self, name: str) -> bool:
        """The file's health check, run in the container once."""
        assert self.running[name].poll() is None, f"{name} has ended:\n{self.log(name)}"
        service = self.describe(name)
        return self.run_in(name, ["sh", "-c", service.health], service, check=False).returncode == 0

    def log(self, name: str) -> str:
        """The last lines that a container printed."""
        return "\n".join((self.scratch / f"{name}.log").read_text(errors="replace").splitlines()[-40:])

    def describe(self, name: str) -> Service:
        """How a service is started here; a subclass gives those their start whose image is not here."""
        return self.service(name)

    def up(self, once: Mapping[str, Callable[[], None]]) -> None:
        """Start every service when what it depends on is as the file asks; then wait until all are healthy."""
        waiting = list(self.described["services"])
        well: set[str] = set()
        asked: dict[str, float] = {}
        started = time.monotonic()
        while waiting or self.running.keys() - well:
            for name in list(waiting):
                after = self.described["services"][name].get("depends_on", {})
                if after.keys() <= well | self.finished:
                    if name in once:
                        once[name]()
                        self.finished.add(name)
                    else:
                        self.start(name, self.describe(name))
                        asked[name] = time.monotonic()
                    waiting.remove(name)
            for name in self.running.keys() - well:
                if time.monotonic() > asked[name] + 1.5:  # some of Dagster's checks take seconds of a processor
                    if self.healthy(name):
                        well.add(name)
                        print(f"{name} is healthy after {time.monotonic() - started:.0f} s")
                    asked[name] = time.monotonic()
            late = sorted(self.running.keys() - well)
            logs = "\n".join(f"{name}:\n{self.log(name)}" for name in late)
            assert time.monotonic() < started + 300, f"not healthy, or waiting for it: {late} {waiting}\n{logs}"
            time.sleep(0.2)

    def down(self) -> None:
        """End every container and remove the networks."""
        for name in list(self.running):
            self.kill(name)
        for name in ("switch", *self.names):
            subprocess.run(["ip", "netns", "delete", f"{self.tag}-{name}"], capture_output=True, check=False)


def interpolate(text: str, variables: Mapping[str, str]) -> str:
    """`${NAME:?}` and `$$` as compose reads them."""

    def value(found: re.Match[str]) -> str:
        return variables[found["name"]] if found["name"] else "$"

    return re.sub(r"\$\$|\$\{(?P<name>\w+)(?::\?)?\}", value, text)


def run(*command: str, text: str = "") -> None:
    """Run a command; an error shows what it printed."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
