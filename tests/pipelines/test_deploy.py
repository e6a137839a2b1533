"""The deploy files, as far as they can be tested without Docker and Kubernetes: every name and command in them exists.

They have never been run: docs/how-to/teams.md says so.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.launcher import RunLauncher
from dagster._serdes import ConfigurableClassData

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text(encoding="utf-8"))
OURS = {name: service for name, service in COMPOSE["services"].items() if service.get("image") == "llm-pipeline"}


def commands() -> list[list[str]]:
    """Command lines of the services of the project's own image, a shell's taken apart."""
    found = []
    for service in OURS.values():
        words = shlex.split(re.sub(r"\$\{\w+:\?\}", "secret", service["command"]))
        lines = words[2].split("&&") if words[:2] == ["sh", "-c"] else [shlex.join(words)]
        found += [[word for word in shlex.split(line) if word != "exec"] for line in lines]
    return found


def test_services_name_what_is_there() -> None:
    services = COMPOSE["services"]
    assert set(OURS) == {"mlflow", "code", "webserver", "daemon"}
    for service in services.values():
        assert set(service.get("depends_on", [])) <= set(services)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), source
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{port} is open to the network"
    assert (DEPLOY / services["code"]["build"]["context"] / services["code"]["build"]["dockerfile"]).is_file()
    hosts = re.findall(r"(?:@|//)([a-z]+):\d+", (DEPLOY / "docker-compose.yaml").read_text().replace("$", ""))
    assert set(hosts) <= set(services), "every host in an address is a service"


def test_secrets_come_from_the_environment() -> None:
    text = "".join(file.read_text(encoding="utf-8") for file in DEPLOY.iterdir())
    for value in re.findall(r"(?im)^\s*\w*(?:password|secret_access_key):\s*(\S+)\s*$", text):
        assert value.startswith("${") or value in ("password", "AWS_SECRET_ACCESS_KEY"), (
            f"a secret in the file: {value}"
        )


@pytest.mark.parametrize("command", commands(), ids=lambda command: " ".join(command[:3]))
def test_commands_and_their_options_exist(command: list[str]) -> None:
    program, *arguments = command
    if program == "pip":
        assert arguments[0] == "install"
        return
    assert (Path(sys.executable).parent / program).is_file(), f"the image's environment has no {program}"
    first_option = next(i for i, word in enumerate(arguments) if word.startswith("-"))
    done = subprocess.run(
        [Path(sys.executable).parent / program, *arguments[:first_option], "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    for option in (word for word in arguments if word.startswith("-")):
        assert re.search(rf"(?<![\w-]){re.escape(option)}\b", done.stdout), f"{program} has no {option}"


def test_code_location_is_named_alike_everywhere() -> None:
    values = yaml.safe_load((DEPLOY / "dagster-values.yaml").read_text(encoding="utf-8"))
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    (server,) = yaml.safe_load((DEPLOY / "workspace.yaml").read_text(encoding="utf-8"))["load_from"]
    server = server["grpc_server"]
    command = shlex.split(OURS["code"]["command"])
    assert server["host"] == "code" and str(server["port"]) == command[command.index("-p") + 1]
    assert server["location_name"] == command[command.index("--location-name") + 1]
    assert deployment["dagsterApiGrpcArgs"][-1] == server["location_name"] and deployment["port"] == server["port"]
    assert f"{deployment['image']['repository']}" == OURS["code"]["image"]


def test_servers_can_load_the_launcher_and_the_queue() -> None:
    """What dagster.yaml names, Helm's values name too, and the daemon's image has it."""
    local = yaml.safe_load((ROOT / "pipelines/dagster.yaml").read_text(encoding="utf-8"))
    values = yaml.safe_load((DEPLOY / "dagster-values.yaml").read_text(encoding="utf-8"))
    launcher = values["runLauncher"]["config"]["customRunLauncher"]
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["customRunCoordinator"]
    for named, key, base in (
        (launcher, "run_launcher", RunLauncher),
        (queue, "run_coordinator", dg.QueuedRunCoordinator),
    ):
        assert {"module": named["module"], "class": named["class"]}.items() <= local[key].items()
        ConfigurableClassData(named["module"], named["class"], yaml.safe_dump(named["config"])).rehydrate(base)
    for server in ("dagsterDaemon", "dagsterWebserver"):
        assert values[server]["image"]["repository"] == OURS["daemon"]["image"]
    monitoring = values["dagsterDaemon"]["runMonitoring"]
    assert monitoring["enabled"] and local["run_monitoring"]["enabled"]
    assert monitoring["freeSlotsAfterRunEndSeconds"] == local["run_monitoring"]["free_slots_after_run_end_seconds"] == 5
    assert "code-server" not in OURS["code"]["command"], "its id changes with every reload of the definitions"


def test_image_copies_what_is_there_and_pins_the_python_of_the_project() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied: list[Any] = [word for line in re.findall(r"(?m)^COPY (.+)$", text) for word in line.split()[:-1]]
    assert copied and all((ROOT / name).exists() for name in copied)
    assert "python:3.11" in text and (ROOT / "pipelines/dagster-postgres.yaml").is_file()


def test_postgres_settings_are_those_of_the_local_instance() -> None:
    """dagster-postgres.yaml differs from dagster.yaml by its storage alone."""
    local = yaml.safe_load((ROOT / "pipelines/dagster.yaml").read_text(encoding="utf-8"))
    team = yaml.safe_load((ROOT / "pipelines/dagster-postgres.yaml").read_text(encoding="utf-8"))
    assert team.pop("storage") and team == local
