"""MLflow's server over the tracking store of the environment, on loopback."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.ui import wait_for
from tests.waiting import free_port


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """Its address, once it answers; what it prints goes to `mlflow.log` in `folder`."""
    port = free_port()
    address, log = f"http://127.0.0.1:{port}", folder / "mlflow.log"
    settings = {
        "MLFLOW_BACKEND_STORE_URI": os.environ["MLFLOW_TRACKING_URI"],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "0",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with open(log, "w") as output:
        server = subprocess.Popen(command, env={**os.environ, **settings}, stdout=output, stderr=output)
        try:
            wait_for(address, server, log)
            yield address
        finally:
            server.terminate()
            server.wait(timeout=60)
