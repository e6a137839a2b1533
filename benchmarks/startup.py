"""The wait when nothing has to run: a no-op `dvc repro`, the code location, a no-op asset.

    python benchmarks/startup.py [--stage split] [--rounds 5]

Start it in the project's folder, with nothing stale (`dvc status`). Each figure has the minimum beside it that no
project can go below: DVC and Dagster imported, without a graph. The no-op asset is launched by the mutation that the
UI's button sends, on servers of this script's own (a fresh DAGSTER_HOME, free ports), and waited for until the UI says
SUCCESS. The goals are in wall seconds, which are meaningful on an idle machine only, so CPU seconds and the load are
printed too.
"""

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from typing import Any

import psutil

BARS = {"no-op dvc repro": 1.5, "code location loads": 2.0, "no-op asset": 3.0}
COMMANDS = {
    "import dvc.repo (floor)": [sys.executable, "-c", "import dvc.repo, dvc.cli"],
    "no-op dvc repro": [sys.executable, "-m", "dvc", "repro"],
    "import dagster (floor)": [sys.executable, "-c", "import dagster"],
    "code location loads": [
        sys.executable,
        "-c",
        "from pipelines.definitions import defs; defs().get_repository_def().asset_graph",
    ],
}
LAUNCH = """mutation($p: ExecutionParams!){launchPipelineExecution(executionParams: $p){__typename
... on LaunchRunSuccess{run{runId}} ... on PythonError{message}}}"""
RUN = "query($id: ID!){runOrError(runId: $id){... on Run{status startTime endTime}}}"


def timed(command: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a command; an error with its output if it fails."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wall, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    if "repro" in command and "Running stage" in done.stdout:
        sys.exit("the project was not up to date: `dvc repro` ran a stage; it is now, so start this again")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def query(address: str, text: str, **variables: Any) -> Any:
    """Data of a GraphQL query."""
    body = json.dumps({"query": text, "variables": variables}).encode()
    request = urllib.request.Request(f"{address}/graphql", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


def no_op_assets(stage: str, rounds: int) -> list[tuple[float, float]]:
    """For each round: seconds from the click until SUCCESS, and CPU seconds of the worker that Dagster starts."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "DAGSTER_HOME": home, "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "pipelines.ui", "--dagster-port", "0", "--mlflow-port", "0"]
        servers = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            assert servers.stdout is not None
            address = servers.stdout.readline().split()[1]
            time.sleep(20)  # the first ticks of the daemon's sensors are over
            return [no_op_asset(address, stage, servers.pid) for _ in range(rounds)]
        finally:
            servers.send_signal(signal.SIGINT)
            servers.wait(timeout=120)


def no_op_asset(address: str, stage: str, servers: int) -> tuple[float, float]:
    """Seconds from the click until SUCCESS, and CPU seconds of the servers' descendants that were started meanwhile."""
    selector = {
        "repositoryLocationName": "llm-pipeline",
        "repositoryName": "__repository__",
        "jobName": "__ASSET_JOB",
        "assetSelection": [{"path": [stage.replace("@", "_")]}],
    }
    before = set(cpu_seconds(servers))
    seconds: dict[psutil.Process, float] = {}
    started = time.monotonic()
    launched = query(address, LAUNCH, p={"selector": selector, "mode": "default", "runConfigData": {}})
    run_id = launched["launchPipelineExecution"]["run"]["runId"]
    while True:
        run = query(address, RUN, id=run_id)["runOrError"]
        if run["status"] in ("SUCCESS", "FAILURE", "CANCELED"):
            if run["status"] != "SUCCESS":
                sys.exit(f"the no-op run of {stage} ended with {run['status']}")
            return time.monotonic() - started, sum(cpu for process, cpu in seconds.items() if process not in before)
        seconds |= cpu_seconds(servers)
        time.sleep(0.05)


def cpu_seconds(pid: int) -> dict[psutil.Process, float]:
    """CPU seconds so far of each descendant of a process."""
    found = {}
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found[process] = sum(process.cpu_times()[:2])
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", default="split", help="the stage whose asset is launched")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    timed(COMMANDS["no-op dvc repro"])  # files' hashes are in DVC's state database from here on
    for name, command in COMMANDS.items():
        rows = [timed(command) for _ in range(options.rounds)]
        say(name, [wall for wall, _ in rows], f"{statistics.median(cpu for _, cpu in rows):.2f} CPU seconds")
    assets = no_op_assets(options.stage, options.rounds)
    cpu = statistics.median(cpu for _, cpu in assets)
    say("no-op asset", [waited for waited, _ in assets], f"{cpu:.2f} CPU seconds of its worker")


def say(name: str, seconds: list[float], beside: str) -> None:
    """One line: median, minimum and maximum wall seconds, further figures, the goal, the machine's load."""
    bar = f"  bar {BARS[name]} s" if name in BARS else ""
    spread = f"({min(seconds):.2f} to {max(seconds):.2f})"
    load = os.getloadavg()[0]
    print(f"{name:<26}{statistics.median(seconds):6.2f} s {spread:<16} {beside:<28} load {load:.1f}{bar}", flush=True)


if __name__ == "__main__":
    main()
