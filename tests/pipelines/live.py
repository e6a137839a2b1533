"""A live `make ui` over a toy project, and its GraphQL, for tests with real servers."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.waiting import wait

ROOT = Path(__file__).parents[2]
ENDED = ("SUCCESS", "FAILURE", "CANCELED")  # states of a run
LOCATION = {"repositoryLocationName": "llm-pipeline", "repositoryName": "__repository__"}


@dataclass
class Live:
    """Addresses and process of a running `python -m pipelines.ui`."""

    project: Path
    dagster: str
    mlflow: str
    process: subprocess.Popen[str]

    def query(self, text: str, **variables: Any) -> Any:
        """Data of a GraphQL query."""
        body = json.dumps({"query": text, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.dagster}/graphql", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            result = json.load(answer)
        assert "errors" not in result, result["errors"]
        return result["data"]

    def statuses(self) -> dict[str, str]:
        """Stale status of each asset, by stage."""
        nodes = self.query("{assetNodes{staleStatus metadataEntries{label ... on TextMetadataEntry{text}}}}")[
            "assetNodes"
        ]
        facts = [{entry["label"]: entry.get("text") for entry in node["metadataEntries"]} for node in nodes]
        return {fact["dvc stage"]: node["staleStatus"] for fact, node in zip(facts, nodes, strict=True)}

    def launch(self, *stages: str, checks: bool = True) -> str:
        """Materialize stages, as the UI's button does; the run's id."""
        selector = {
            **LOCATION,
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": [s.replace("@", "_")]} for s in stages],
        }
        answer = self.query(
            """mutation($p: ExecutionParams!){launchPipelineExecution(executionParams: $p){__typename
            ... on LaunchRunSuccess{run{runId}} ... on PythonError{message}}}""",
            p={"selector": selector, "mode": "default", "runConfigData": {}},
        )["launchPipelineExecution"]
        assert "run" in answer, answer
        return str(answer["run"]["runId"])

    def run(self, run_id: str) -> dict[str, Any]:
        """Status and times of a run."""
        text = "query($id: ID!){runOrError(runId: $id){... on Run{status startTime endTime}}}"
        return dict(self.query(text, id=run_id)["runOrError"])

    def log(self, run_id: str) -> list[str]:
        """Messages of a run's event log."""
        text = (
            """query($id: ID!){logsForRun(runId: $id){... on EventConnection{events{... on MessageEvent{message}}}}}"""
        )
        return [event.get("message", "") for event in self.query(text, id=run_id)["logsForRun"]["events"]]

    def start_sensor(self, name: str) -> None:
        """Switch a sensor on, and wait for its first tick (a condition's baseline)."""
        selector = {**LOCATION, "sensorName": name}
        self.query("mutation($s: SensorSelector!){startSensor(sensorSelector: $s){__typename}}", s=selector)
        wait(lambda: self.ticks(name), what=f"a tick of {name}")

    def ticks(self, name: str) -> list[str]:
        """Status of each finished tick of a sensor."""
        text = """query($s: SensorSelector!){sensorOrError(sensorSelector: $s){
            ... on Sensor{sensorState{ticks{status}}}}}"""
        found = self.query(text, s={**LOCATION, "sensorName": name})["sensorOrError"]["sensorState"]["ticks"]
        return [tick["status"] for tick in found if tick["status"] != "STARTED"]

    def runs(self, tag: str, value: str) -> list[dict[str, str]]:
        """Runs with a tag: runId, status."""
        text = f"""{{runsOrError(filter: {{tags: [{{key: "{tag}", value: "{value}"}}]}}){{
            ... on Runs{{results{{runId status}}}}}}}}"""
        return list(self.query(text)["runsOrError"]["results"])

    def cancel(self, run_id: str) -> None:
        """Terminate a run, as the UI's button does."""
        text = """mutation($id: String!){terminateRun(runId: $id){__typename
            ... on TerminateRunFailure{message} ... on PythonError{message}}}"""
        answer = self.query(text, id=run_id)["terminateRun"]
        assert answer["__typename"] == "TerminateRunSuccess", answer


@contextmanager
def serve(project: Path, **variables: str) -> Iterator[Live]:
    """Start `python -m pipelines.ui` over a project; Ctrl-C at the end."""
    shutil.copy(ROOT / "workspace.yaml", project)
    environment = {k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME", "MLFLOW_TRACKING_URI")}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **variables}
    command = [sys.executable, "-m", "pipelines.ui", "--dagster-port", "0", "--mlflow-port", "0"]
    process = subprocess.Popen(command, cwd=project, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        addresses = dict(process.stdout.readline().split() for _ in range(2))
        yield Live(project, addresses["Dagster"], addresses["MLflow"], process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=180)
