"""The deploy files, read: every name, command and option in them exists, nothing floats, no secret is in them.

tests/pipelines/test_stack.py runs the compose file. The Helm values have never been run: docs/how-to/teams.md.
"""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.launcher import RunLauncher
from dagster._serdes import ConfigurableClassData

from pipelines.launcher import RunnerLauncher

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text(encoding="utf-8"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
IMAGE = f"llm-pipeline:{VERSION}"
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == IMAGE}


def commands() -> list[list[str]]:
    """Command lines of the services of the project's own image, and those of their health checks that are its own."""
    found = []
    for service in OURS.values():
        lines = [service["command"], service["healthcheck"]["test"]]
        words = [shlex.split(re.sub(r"\$\{\w+:\?\}", "secret", line)) for line in lines]
        found += [command for command in words if command[0] != "python" and command not in found]
    return found


def test_services_name_what_is_there() -> None:
    services = COMPOSE["services"]
    assert set(OURS) == {"mlflow", "code", "runner", "webserver", "daemon"}
    for name, service in services.items():
        assert set(service.get("depends_on", [])) <= set(services)
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), source
        if name != "proxy":
            assert "ports" not in service, f"{name} is open to the network"
        if name != "buckets":
            assert service["healthcheck"]["test"], f"nobody notices when {name} hangs"
    build = services["code"]["build"]
    assert (DEPLOY / build["context"] / build["dockerfile"]).is_file()
    text = (DEPLOY / "docker-compose.yaml").read_text(encoding="utf-8").replace("$", "")
    assert set(re.findall(r"(?:@|//)([a-z]+):\d+", text)) <= set(services), "every host in an address is a service"
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert [name for name, service in services.items() if service["networks"] != ["inside"]] == ["runner", "proxy"]


def test_the_proxy_leads_to_services_and_files_that_are_there() -> None:
    text = (DEPLOY / "nginx.conf.template").read_text(encoding="utf-8")
    health = {name: service["healthcheck"]["test"] for name, service in OURS.items()}
    ports = {name: re.search(r":(\d+)/", health[name])[1] for name in ("webserver", "mlflow")}  # type: ignore[index]
    assert re.findall(r"proxy_pass http://([a-z]+):(\d+);", text) == [*ports.items(), ("objects", "9000")]
    assert "--address :9000" in COMPOSE["services"]["objects"]["command"]
    secrets = set(re.findall(r"/run/secrets/([\w.]+)", text))
    assert secrets == set(COMPOSE["services"]["proxy"]["secrets"]) == set(COMPOSE["secrets"])
    teams = (DEPLOY.parent / "docs/how-to/teams.md").read_text(encoding="utf-8")
    assert "restart proxy" not in teams, "a restarted container keeps its variables, and a new template names new ones"
    assert text.count("auth_basic_user_file") == text.count("server_name") - 1, "all but the store ask for a password"


def test_nothing_floats() -> None:
    """Images have a version, and the project's own is that of pyproject.toml in every file."""
    for name, service in COMPOSE["services"].items():
        assert re.fullmatch(r"[\w./-]+:(?=.*\d)[\w.-]+", service["image"]), f"{name}: {service['image']}"
    (base,) = re.findall(r"(?m)^ARG BASE=(.+)$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"))
    assert re.search(r":3\.11\.\d+-", base), "the Python of the project, with its patch"
    text = "".join(file.read_text(encoding="utf-8") for file in DEPLOY.glob("*.yaml"))
    assert set(re.findall(r"llm-pipeline, tag: (\S+?),", text)) == {f'"{VERSION}"'}
    assert "latest" not in text and "pip install" not in text
    assert f"--version {dg.__version__} " in text, "Helm's chart is that of the installed Dagster"


def test_secrets_come_from_the_environment() -> None:
    files = [file for file in DEPLOY.rglob("*") if file.is_file() and "secrets" not in file.parent.name]
    text = "".join(file.read_text(encoding="utf-8") for file in files)
    for value in re.findall(r"(?im)^\s*\w*(?:password|secret|secret_access_key|_key):\s*(\S+)\s*$", text):
        assert value.startswith("${") or value in ("password", "AWS_SECRET_ACCESS_KEY", "false"), (
            f"a secret in the file: {value}"
        )
    named = set(re.findall(r"\$\{(\w+):\?\}", (DEPLOY / "docker-compose.yaml").read_text(encoding="utf-8")))
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    assert named == set(re.findall(r"(?m)^(\w+)=", example))
    for path in (".env", "deploy/secrets/tls.key", "deploy/secrets/htpasswd"):
        assert subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False).returncode == 0, path


@pytest.mark.parametrize("command", commands(), ids=lambda command: " ".join(command[:3]))
def test_commands_and_their_options_exist(command: list[str]) -> None:
    program, *arguments = command
    assert (Path(sys.executable).parent / program).is_file(), f"the image's environment has no {program}"
    first_option = next((i for i, word in enumerate(arguments) if word.startswith("-")), len(arguments))
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
    assert OURS["runner"]["command"] == OURS["code"]["command"], "a run is launched by the location's name of it"


def test_servers_can_load_the_launcher_and_the_queue() -> None:
    """What dagster.yaml names can be made from its settings; Helm's values name the same queue and limits."""
    local = yaml.safe_load((ROOT / "pipelines/dagster.yaml").read_text(encoding="utf-8"))
    team = yaml.safe_load((DEPLOY / "dagster.yaml").read_text(encoding="utf-8"))
    values = yaml.safe_load((DEPLOY / "dagster-values.yaml").read_text(encoding="utf-8"))
    queue = values["dagsterDaemon"]["runCoordinator"]["config"]["customRunCoordinator"]
    assert {"module": queue["module"], "class": queue["class"]}.items() <= local["run_coordinator"].items()
    for named, base in ((queue, dg.QueuedRunCoordinator), (team["run_launcher"], RunLauncher)):
        ConfigurableClassData(named["module"], named["class"], yaml.safe_dump(named["config"])).rehydrate(base)
    monitoring = values["dagsterDaemon"]["runMonitoring"]
    assert monitoring["enabled"] and local["run_monitoring"]["enabled"]
    assert monitoring["freeSlotsAfterRunEndSeconds"] == local["run_monitoring"]["free_slots_after_run_end_seconds"] == 1
    assert "code-server" not in OURS["code"]["command"], "its id changes with every reload of the definitions"


def test_runs_outlive_an_upgrade() -> None:
    """A launcher that runs nothing in the code location, in compose and in Helm's values; only runs ask for GPUs."""
    team = yaml.safe_load((DEPLOY / "dagster.yaml").read_text(encoding="utf-8"))
    launcher = team["run_launcher"]
    assert launcher["class"] == RunnerLauncher.__name__ and launcher["config"]["host"] in OURS
    values = yaml.safe_load((DEPLOY / "dagster-values.yaml").read_text(encoding="utf-8"))
    assert values["runLauncher"]["type"] == "K8sRunLauncher"
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert deployment["includeConfigInLaunchedRuns"]["enabled"], "a run's pod has the working copy and the keys"
    assert "/dev/shm" in {mount["mountPath"] for mount in deployment["volumeMounts"]}
    pods = [deployment, values["dagsterWebserver"], values["dagsterDaemon"]]
    pods.append(values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["containerConfig"])
    assert all(pod["resources"]["requests"].keys() == {"cpu", "memory"} for pod in pods)
    assert "gpu" not in yaml.safe_dump(values) and "nvidia" not in yaml.safe_dump(COMPOSE)
    gpu = yaml.safe_load((DEPLOY / "docker-compose.gpu.yaml").read_text(encoding="utf-8"))
    assert set(gpu["services"]) == {launcher["config"]["host"]}
    assert "shm_size" in OURS["runner"]


def test_image_copies_what_is_there_and_what_docker_is_given() -> None:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    copied: list[Any] = [word for line in re.findall(r"(?m)^COPY (.+)$", text) for word in line.split()[:-1]]
    assert copied and all((ROOT / name).exists() for name in copied)
    given = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert set(copied) == {line.removeprefix("!") for line in given if line.startswith("!")}
    assert "*" in given, "data, keys and git's history stay out of the image"


def test_instance_settings_differ_by_what_they_must() -> None:
    """dagster-postgres.yaml differs from dagster.yaml by its storage alone, and deploy's from that by its launcher."""
    local = yaml.safe_load((ROOT / "pipelines/dagster.yaml").read_text(encoding="utf-8"))
    team = yaml.safe_load((ROOT / "pipelines/dagster-postgres.yaml").read_text(encoding="utf-8"))
    compose = yaml.safe_load((DEPLOY / "dagster.yaml").read_text(encoding="utf-8"))
    assert compose.pop("storage") == team.pop("storage") and team == local
    assert compose.pop("run_launcher") != local.pop("run_launcher") and compose == local
