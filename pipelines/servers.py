"""Dagster's servers on one machine: as `dagster dev` starts them, but one that dies is started again.

`dagster dev` ends every server, and with them a training of hours, when the webserver or the daemon dies (killed for
memory, say). Its code server is two processes, a proxy and the one that loads the definitions and starts runs; it
replaces the first and never the second. Here each of the four comes back. A run's worker is none of them: it outlives
them all, and `pipelines/launcher.py` watches it by its process. `make ui` starts this module, and where this module's
own process dies, interrupts what is left of its process group before it starts it again: the run's worker too, so that
the run ends.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import yaml
from dagster import DagsterInstance
from dagster._cli.proxy_server_manager import ProxyServerManager
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._grpc.client import DagsterGrpcClient

from pipelines.processes import Server, stop

LOOK_SECONDS = 1.0
ANSWER_SECONDS = 10
LOAD_SECONDS = 180  # as Dagster waits for definitions to load


def main() -> None:
    """Serve until Ctrl-C; exits with 1 where a server ends again and again."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.servers", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", default="3000", help="of the webserver")
    parser.add_argument("--workspace", default="workspace.yaml")
    options = parser.parse_args()
    os.environ["DAGSTER_IS_DEV_CLI"] = "1"
    with DagsterInstance.get() as instance, code_servers(instance, options.workspace) as (file, clients):
        address = ["--host", options.host, "--port", options.port, "--live-data-poll-rate", "2000"]
        servers = [
            Server("the webserver", [sys.executable, "-m", "dagster_webserver", *address, "--workspace", str(file)]),
            Server("the daemon", [sys.executable, "-m", "dagster._daemon", "run", "--workspace", str(file)]),
        ]
        try:
            while True:
                time.sleep(LOOK_SECONDS)
                for server in servers:
                    server.keep()
                for client in clients:
                    revive(client)
        except KeyboardInterrupt:
            pass
        except RuntimeError as error:
            sys.exit(f"pipelines.servers: error: {error}")
        finally:
            for server in servers:
                stop(server.process.pid)


@contextmanager
def code_servers(instance: DagsterInstance, workspace: str) -> Iterator[tuple[Path, list[DagsterGrpcClient]]]:
    """A code server for each location of a workspace file; a workspace file that names them, and their clients."""
    target = WorkspaceFileTarget([workspace])
    with (
        ProxyServerManager(instance, target, code_server_log_level="warning") as manager,
        tempfile.TemporaryDirectory() as folder,
    ):
        specs = [spec["grpc_server"] for spec in manager.get_code_server_specs()]
        file = Path(folder) / "workspace.yaml"
        file.write_text(yaml.dump({"load_from": manager.get_code_server_specs()}))
        yield file, [DagsterGrpcClient(spec.get("port"), spec.get("socket"), spec["host"]) for spec in specs]


def revive(client: DagsterGrpcClient) -> None:
    """Have a proxy load the definitions in a new process where it answers that its own is gone.

    A proxy that does not answer is started again by Dagster, and a process that is too busy to answer is left alone.
    """
    try:
        client.get_server_id(timeout=ANSWER_SECONDS)
    except DagsterUserCodeUnreachableError as error:
        cause = error.__cause__
        if (
            isinstance(cause, grpc.RpcError)
            and cause.code() == grpc.StatusCode.UNKNOWN
            and grpc.StatusCode.UNAVAILABLE.name in str(cause.details())
        ):
            print("the process with the definitions has died; they are loaded in a new one", flush=True)
            with suppress(DagsterUserCodeUnreachableError):  # it loads them, then tells the dead process to end
                client.reload_code(timeout=LOAD_SECONDS)


if __name__ == "__main__":
    main()
