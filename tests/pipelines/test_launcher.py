"""The launcher's health check with real code servers: alive, stopped, killed, and started anew at the same address."""

import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import dagster as dg
import psutil
import pytest
import yaml
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.events import EngineEventData
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient

from pipelines import launcher
from tests.waiting import free_port, wait

ROOT = Path(__file__).parents[2]
CODE = """\
import time
import dagster as dg

@dg.op
def nap():
    time.sleep(1000)

@dg.job
def naps():
    nap()
"""
DAGSTER = [sys.executable, "-m", "dagster"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with the project's dagster.yaml; without the queue, which needs a daemon."""
    config = yaml.safe_load((ROOT / "pipelines/dagster.yaml").read_text(encoding="utf-8"))
    config["run_coordinator"] = {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"}
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "naps.py").write_text(CODE)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


@contextmanager
def code_server(folder: Path, *address: str) -> Iterator[psutil.Process]:
    """`dagster api grpc`, until killed with all that it started."""
    command = [*DAGSTER, "api", "grpc", "-f", str(folder / "naps.py"), *address]
    environment = {**os.environ, "DAGSTER_HOME": str(folder), "PYTHONPATH": str(ROOT)}
    process = psutil.Process(subprocess.Popen(command, env=environment, cwd=folder).pid)
    option = {"--port": "port", "--socket": "socket"}[address[0]]
    client = DagsterGrpcClient(**{option: int(address[1]) if option == "port" else address[1]})  # type: ignore[arg-type]
    try:
        wait(lambda: answers(client) or not process.is_running(), 120, what="the code server")
        yield process
    finally:
        kill(process)


def answers(client: DagsterGrpcClient) -> bool:
    try:
        return bool(client.get_server_id(timeout=2))
    except dg.DagsterError:
        return False


def kill(process: psutil.Process) -> None:
    """SIGKILL to a server and its workers."""
    if process.is_running():
        family = [process, *process.children(recursive=True)]
        for member in family:
            member.kill()
        psutil.wait_procs(family)


def health(instance: dg.DagsterInstance, run_id: str) -> WorkerStatus:
    run = instance.get_run_by_id(run_id)
    assert run is not None
    return instance.run_launcher.check_run_worker_health(run).status


@pytest.mark.slow
def test_server_behind_a_port(home: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = str(free_port())
    with code_server(tmp_path, "--port", port) as server:
        subprocess.run(
            [*DAGSTER, "job", "launch", "--grpc-host", "localhost", "--grpc-port", port, "-j", "naps"],
            env={**os.environ, "DAGSTER_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
            check=True,
        )
        (run,) = home.get_runs()
        wait(lambda: home.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED, 120, "the worker")  # type: ignore[union-attr]
        assert health(home, run.run_id) == WorkerStatus.RUNNING
        monkeypatch.setattr(launcher, "TIMEOUT_SECONDS", 1)
        server.suspend()
        assert health(home, run.run_id) == WorkerStatus.RUNNING, "a server too busy to answer"
        server.resume()
        monkeypatch.undo()
        kill(server)
        assert health(home, run.run_id) == WorkerStatus.RUNNING, "perhaps it is the network"
    with code_server(tmp_path, "--port", port):
        assert health(home, run.run_id) == WorkerStatus.FAILED, "another server at the same address"


@pytest.mark.slow
def test_a_run_outlives_the_code_location_that_described_it(tmp_path: Path) -> None:
    """With a runner, as in deploy/: the run is the runner's child, and dies with the runner alone."""
    ports = {"code": str(free_port()), "runner": str(free_port())}
    config = {
        "telemetry": {"enabled": False},
        "run_launcher": {
            "module": "pipelines.launcher",
            "class": "RunnerLauncher",
            "config": {"host": "localhost", "port": int(ports["runner"])},
        },
        "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "naps.py").write_text(CODE)
    with (
        dg.DagsterInstance.from_config(str(tmp_path)) as home,
        code_server(tmp_path, "--port", ports["runner"]) as runner,
    ):
        with code_server(tmp_path, "--port", ports["code"]):
            subprocess.run(
                [*DAGSTER, "job", "launch", "--grpc-host", "localhost", "--grpc-port", ports["code"], "-j", "naps"],
                env={**os.environ, "DAGSTER_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
                check=True,
            )
            (run,) = home.get_runs()
            wait(lambda: home.get_run_by_id(run.run_id).status == dg.DagsterRunStatus.STARTED, 120, "the worker")  # type: ignore[union-attr]
        assert [child for child in runner.children(recursive=True) if child.is_running()]
        assert health(home, run.run_id) == WorkerStatus.RUNNING
        kill(runner)
        with code_server(tmp_path, "--port", ports["runner"]):
            assert health(home, run.run_id) == WorkerStatus.FAILED, "another runner at the same address"


def test_server_behind_a_socket(home: dg.DagsterInstance, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    tags = {GRPC_INFO_TAG: json.dumps({"host": "localhost", "socket": path})}
    run = home.create_run_for_job(dg.JobDefinition(name="naps", graph_def=dg.GraphDefinition("naps")), tags=tags)
    with code_server(tmp_path, "--socket", path) as server:
        assert health(home, run.run_id) == WorkerStatus.RUNNING
        kill(server)
        assert health(home, run.run_id) == WorkerStatus.FAILED


@pytest.mark.slow
def test_a_worker_outlives_its_server_and_can_be_cancelled(home: dg.DagsterInstance, tmp_path: Path) -> None:
    """Behind a socket the run's own process decides: its server may be killed and started anew."""
    path = str(tmp_path / "socket")
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    launch = [*DAGSTER, "job", "launch", "--grpc-socket", path, "-j", "naps"]
    with code_server(tmp_path, "--socket", path) as server:
        for _ in range(2):
            subprocess.run(launch, env=environment, check=True)
        runs = [run.run_id for run in home.get_runs()]
        started = dg.DagsterRunStatus.STARTED
        wait(lambda: {home.get_run_by_id(run).status for run in runs} == {started}, 120, "the workers")  # type: ignore[union-attr]
        workers = {run: launcher.local_worker(home, launcher.started_process(home, run)) for run in runs}  # type: ignore[arg-type]
        server.kill()
        server.wait()
    first, second = runs
    assert {health(home, run) for run in runs} == {WorkerStatus.RUNNING}
    for run in runs:
        log_earlier(tmp_path / "history" / "runs" / f"{run}.db", seconds=3600)
    assert {health(home, run) for run in runs} == {WorkerStatus.RUNNING}, "the wall clock was put forward by an hour"
    assert home.run_launcher.terminate(first)
    wait(lambda: home.get_run_by_id(first).status == dg.DagsterRunStatus.CANCELED, 60, "the cancel")  # type: ignore[union-attr]
    kill(workers[second])  # type: ignore[arg-type]
    assert health(home, second) == WorkerStatus.FAILED


@pytest.mark.slow
def test_a_run_that_started_although_it_was_cancelled_is_cancelled_again(
    home: dg.DagsterInstance, tmp_path: Path
) -> None:
    """Its worker had looked at its state just before the cancel, and then wrote that it started."""
    path = str(tmp_path / "socket")
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    with code_server(tmp_path, "--socket", path):
        subprocess.run([*DAGSTER, "job", "launch", "--grpc-socket", path, "-j", "naps"], env=environment, check=True)
        (run,) = home.get_runs()

        def status() -> dg.DagsterRunStatus:
            return home.get_run_by_id(run.run_id).status  # type: ignore[union-attr]

        wait(lambda: status() == dg.DagsterRunStatus.STARTED, 120, "the worker")
        home.report_run_canceled(run)
        home.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name), run.run_id)
        assert status() == dg.DagsterRunStatus.STARTED
        assert health(home, run.run_id) == WorkerStatus.RUNNING
        wait(lambda: status() == dg.DagsterRunStatus.CANCELED, 60, "the second cancel")


def log_earlier(log: Path, seconds: float) -> None:
    """Move the times in a run's log, as if the wall clock had been set while it ran."""
    with closing(sqlite3.connect(log)) as store, store:
        rows = store.execute("SELECT id, event FROM event_logs").fetchall()
        for number, text in rows:
            event = json.loads(text)
            event["timestamp"] -= seconds
            store.execute("UPDATE event_logs SET event = ? WHERE id = ?", (json.dumps(event), number))
    assert rows


def test_another_process_with_the_worker_s_number_is_not_the_worker(
    home: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process, and one that a stage of another instance has spawned; then one of this instance, until it ends."""
    assert launcher.local_worker(home, os.getpid()) is None
    spawn = multiprocessing.get_context("spawn")
    for folder, known in ((tmp_path / "another", False), (tmp_path, True)):
        monkeypatch.setenv("DAGSTER_HOME", str(folder))
        child = spawn.Process(target=time.sleep, args=(60,))
        child.start()
        assert child.pid
        wait(psutil.Process(child.pid).cmdline, 20, "its command, which is empty while it begins")
        assert (launcher.local_worker(home, child.pid) is not None) == known
        child.kill()
        wait(lambda pid=child.pid: launcher.local_worker(home, pid) is None, 20, "its end to be seen")
        child.join()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be another user")
def test_another_user_s_process_with_the_worker_s_number_is_not_the_worker(
    home: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a reboot any process may have the number; its variables cannot be read, and the run has died."""
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    monkeypatch.setenv("DAGSTER_HOME", home.root_directory)
    child.start()
    assert child.pid
    wait(lambda: launcher.local_worker(home, child.pid), 20, "it to begin; root sees it")  # type: ignore[arg-type]
    for process in (child.pid, os.getpid()):
        other = os.fork()
        if not other:
            os.setuid(65534)
            os._exit(int(launcher.local_worker(home, process) is not None))
        assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0, process
    child.kill()
    child.join()


def test_a_worker_that_may_not_be_interrupted_is_not_said_to_be_cancelled(
    home: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tags = {GRPC_INFO_TAG: json.dumps({"host": "localhost", "socket": str(tmp_path / "gone")})}
    run = home.create_run_for_job(dg.JobDefinition(name="naps", graph_def=dg.GraphDefinition("naps")), tags=tags)

    def refuse(*_: object) -> None:
        raise psutil.AccessDenied

    def gone(*_: object) -> None:
        raise DagsterUserCodeUnreachableError

    monkeypatch.setattr(launcher, "started_process", lambda *_: os.getpid())
    monkeypatch.setattr(launcher, "local_worker", lambda *_: psutil.Process())
    monkeypatch.setattr(launcher.DefaultRunLauncher, "terminate", gone)
    monkeypatch.setattr(psutil.Process, "send_signal", refuse)
    assert not home.run_launcher.terminate(run.run_id)


def test_the_events_of_a_run_are_read_until_its_process_is_known(
    home: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = home.create_run_for_job(dg.JobDefinition(name="naps", graph_def=dg.GraphDefinition("naps")))
    assert launcher.started_process(home, run.run_id) is None
    home.report_engine_event("started", run, EngineEventData({"pid": dg.MetadataValue.text("7")}))
    assert launcher.started_process(home, run.run_id) == 7
    monkeypatch.setattr(type(home), "event_log_storage", None)
    assert launcher.started_process(home, run.run_id) == 7


def test_run_that_names_no_server(home: dg.DagsterInstance) -> None:
    run = home.create_run_for_job(dg.JobDefinition(name="naps", graph_def=dg.GraphDefinition("naps")))
    assert health(home, run.run_id) == WorkerStatus.RUNNING
