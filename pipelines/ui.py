"""`make ui`: Dagster (webserver, daemon, code server) and the MLflow UI on loopback, until Ctrl-C.

Each server gets a session of its own; Ctrl-C or a TERM signal ends all of them, workers included. One that dies is
started again (`pipelines/servers.py` does so for Dagster's own), and a training goes on meanwhile. Only where the
process of `pipelines/servers.py` dies are runs interrupted with what is left of it. All servers listen on 127.0.0.1
only; to show the pages to a team, put a proxy with authentication in front of them (docs/how-to/teams.md).
"""

import argparse
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from importlib.resources import files
from pathlib import Path
from types import FrameType
from typing import Any

from llm_core.tracking.experiments import EXPERIMENT
from llm_core.tracking.store import relocate
from pipelines.loopback import open_directly, without_proxy
from pipelines.processes import Server, stop

HOST = "127.0.0.1"
COPIED = "copied.sha256"  # in DAGSTER_HOME: digest of the dagster.yaml that was put there
START_SECONDS = 300.0  # a busy machine needs minutes, an idle one seconds


def main() -> None:
    """Start everything, print addresses, wait, stop everything."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.ui", description=__doc__)
    parser.add_argument("--dagster-port", type=int, default=3000, help="0 takes any free port")
    parser.add_argument("--mlflow-port", type=int, default=5000, help="0 takes any free port")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background jobs inherit "ignore Ctrl-C"
        signal.signal(number, _interrupt)
    try:
        dagster_port, mlflow_port = free_port(options.dagster_port), free_port(options.mlflow_port)
    except OSError as error:
        sys.exit(f"pipelines.ui: error: {error}")
    sys.exit(serve(Path.cwd(), dagster_port, mlflow_port))


def serve(root: Path, dagster_port: int, mlflow_port: int) -> int:
    """Run both user interfaces over the project at `root`; returns the exit code."""
    home = prepare_home(root)
    relocate()  # before MLflow's server opens the store
    addresses = {"Dagster": f"http://{HOST}:{dagster_port}", "MLflow": f"http://{HOST}:{mlflow_port}"}
    environment = {
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes of 200 MB for LLM judges, which are not used
        **without_proxy(os.environ),
        "DAGSTER_HOME": str(home),
        "DAGSTER_WEBSERVER_URL": addresses["Dagster"],
        "MLFLOW_UI_URL": addresses["MLflow"],
        "MLFLOW_TRACKING_URI": tracking_uri(root),
        # Not an argument of the server: all users can read the process list, and it may contain a password.
        "MLFLOW_BACKEND_STORE_URI": tracking_uri(root),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PIPELINE_PROJECT": str(root),
    }
    commands = {
        "Dagster": [sys.executable, "-m", "pipelines.servers", "--host", HOST, "--port", str(dagster_port)],
        "MLflow": [
            *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(mlflow_port), "--workers", "1"),
        ],
    }
    logs = home / "servers"
    logs.mkdir(exist_ok=True)
    servers: dict[str, Server] = {}
    try:
        for name, command in commands.items():
            servers[name] = Server(name, command, root, environment, logs / f"{name.lower()}.log")
        for name, address in addresses.items():
            wait_for(address, servers[name].process, logs / f"{name.lower()}.log")
            print(f"{name:<8} {address}", flush=True)
        print(f"{'graph':<8} {addresses['Dagster']}/asset-groups", flush=True)
        if runs := training_runs(addresses["MLflow"]):
            print(f"{'runs':<8} {runs}", flush=True)
        if last := comparison(addresses["MLflow"]):
            print(f"{'compare':<8} {last}", flush=True)
        print(f"Ctrl-C stops both; their logs are in {os.path.relpath(logs, root)}", flush=True)
        while True:
            time.sleep(0.5)
            for server in servers.values():
                server.keep()
    except KeyboardInterrupt:
        return 0
    except RuntimeError as error:
        print(f"pipelines.ui: error: {error}; see {os.path.relpath(logs, root)}", file=sys.stderr)
        return 1
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):  # a second Ctrl-C would leave the other server running
            signal.signal(number, signal.SIG_IGN)
        for server in servers.values():
            stop(server.process.pid)
            server.process.wait()


def prepare_home(root: Path) -> Path:
    """DAGSTER_HOME with the project's dagster.yaml in it; a file that a user has edited or put there stays.

    An unchanged copy is replaced when the project's own file has changed.
    """
    home = Path(os.environ.get("DAGSTER_HOME") or root / ".dagster").resolve()
    home.mkdir(parents=True, exist_ok=True)
    config, note = home / "dagster.yaml", home / COPIED
    name = "dagster-postgres.yaml" if os.environ.get("DAGSTER_POSTGRES_URL") else "dagster.yaml"
    ours = (files("pipelines") / name).read_bytes()
    present = config.read_bytes() if config.exists() else b""
    untouched = note.exists() and note.read_text() == hashlib.sha256(present).hexdigest()
    if not present or untouched:
        config.write_bytes(ours)
        note.write_text(hashlib.sha256(ours).hexdigest())
    elif present != ours:
        print(f"{config} is your own and is kept; the project's present one is pipelines/{name}", flush=True)
    return home


def training_runs(mlflow: str) -> str:
    """Address of the table of training runs, since MLflow's first page shows GenAI traces; "" before the first run."""
    try:
        number = _training_experiment(mlflow)
    except (OSError, ValueError, KeyError):
        return ""
    return f"{mlflow}/#/experiments/{number}/runs?workflowType=machine_learning"


def comparison(mlflow: str) -> str:
    """Address of the comparison of the last two finished pretraining runs; "" before there are two."""
    try:
        number = _training_experiment(mlflow)
        wanted = {
            "experiment_ids": [number],
            "filter": "tags.stage LIKE 'pretrain%' AND attributes.status = 'FINISHED'",
            "max_results": 2,
            "order_by": ["attributes.start_time DESC"],
        }
        found = _answer(f"{mlflow}/api/2.0/mlflow/runs/search", json.dumps(wanted).encode())["runs"]
        runs = [run["info"]["run_id"] for run in found]
    except (OSError, ValueError, KeyError):
        return ""
    named = f"runs={urllib.parse.quote(json.dumps(runs))}&experiments={urllib.parse.quote(json.dumps([number]))}"
    return f"{mlflow}/#/compare-runs?{named}&workflowType=machine_learning" if len(runs) == 2 else ""


def _training_experiment(mlflow: str) -> str:
    name = urllib.parse.quote(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT))
    found = _answer(f"{mlflow}/api/2.0/mlflow/experiments/get-by-name?experiment_name={name}")
    return str(found["experiment"]["experiment_id"])


def _answer(address: str, body: bytes | None = None) -> dict[str, Any]:
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with open_directly(request, 10) as answer:
        return dict(json.load(answer))


def tracking_uri(root: Path) -> str:
    """Address of MLflow's store: the environment's, else the sqlite file in the project."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root / 'mlflow.db'}"


def free_port(port: int) -> int:
    """The port, or any free one for 0. Raises OSError that names a port that is taken or does not exist."""
    if not 0 <= port < 65536:
        raise OSError(f"port {port} does not exist; the range is 0 to 65535 (--dagster-port, --mlflow-port)")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise OSError(f"port {port} is taken; choose another (--dagster-port, --mlflow-port)") from None
        return int(probe.getsockname()[1])


def wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Return when a server answers. Raises RuntimeError with the end of its log where it does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            open_directly(address, timeout=2).close()
            return
        except (OSError, http.client.HTTPException):  # the latter: a client that was given this port calls itself
            time.sleep(0.2)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    ended = server.poll()
    what = f"no answer from {address}" if ended is None else f"the server of {address} ended with code {ended}"
    raise RuntimeError(f"{what}; the end of {log}:\n{tail}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
