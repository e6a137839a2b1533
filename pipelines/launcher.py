"""Dagster's default launcher with a check whether the worker of a run is still alive; dagster.yaml names it.

It also cancels a run that is starting, which Dagster refuses.

A living code server marks its own dead workers as failed. If it died with them (power cut, out of memory), nothing
does: the run stays "started" indefinitely and blocks the queue. With the check below the daemon's run monitoring marks
it as failed. An uncertain case counts as alive, so that no training is marked as failed by mistake.
"""

import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

import grpc
import psutil
from dagster import DagsterEventType, DagsterInstance, DagsterRun, DagsterRunStatus, IntSource, StringSource
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, LaunchRunContext, WorkerStatus
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._core.storage.dagster_run import CANCELABLE_RUN_STATUSES
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CancelExecutionRequest
from dagster._serdes import ConfigurableClassData

SERVER_ID = "pipelines/code_server_id"
TIMEOUT_SECONDS = 10
SPAWNED = "multiprocessing.spawn"  # in the command of a process that Dagster's code server starts for a run
_processes: dict[str, int] = {}  # by run

# The webserver refuses to cancel runs whose state is not in this list, so `terminate` would not be called.
if DagsterRunStatus.STARTING not in CANCELABLE_RUN_STATUSES:
    CANCELABLE_RUN_STATUSES.append(DagsterRunStatus.STARTING)


class CheckedRunLauncher(DefaultRunLauncher):
    """`DefaultRunLauncher` whose runs fail when the code server that runs them is gone.

    A code server behind a socket (`make ui`) is on this machine, and so is the run's worker: its process is looked at,
    because a worker outlives its server. With a host and port (deploy/) the network may fail for a moment, and a
    restarted container has the same address; there the server's id is compared.
    """

    def launch_run(self, context: LaunchRunContext) -> None:
        """Note the id of a server behind a port, then launch.

        In this order, because Dagster reads, changes and writes a run's record: a tag that is written while the run's
        worker writes its start can be lost.
        """
        client = _client(context)
        if client and client.port:
            self._note_server(context.dagster_run, client)
        super().launch_run(context)

    def _note_server(self, run: DagsterRun, client: DagsterGrpcClient) -> None:
        with suppress(DagsterUserCodeUnreachableError):  # the launch itself reports the reason
            server_id = client.get_server_id(timeout=TIMEOUT_SECONDS)
            self._instance.add_run_tags(run.run_id, {SERVER_ID: server_id})

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True, so that run monitoring uses the check."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """FAILED if the run's worker is gone, or, where it cannot be seen, its code server; else RUNNING.

        A run that goes on although it was cancelled is cancelled again.
        """
        if _logged(self._instance, run.run_id, DagsterEventType.RUN_CANCELED):
            self.terminate(run.run_id)
            return CheckRunHealthResult(WorkerStatus.RUNNING, "it was cancelled while it started")
        client = self._get_grpc_client_for_termination(run.run_id)
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "the run names no code server")
        if client.socket and (pid := started_process(self._instance, run.run_id)) is not None:
            if local_worker(self._instance, pid):
                return CheckRunHealthResult(WorkerStatus.RUNNING)
            return CheckRunHealthResult(WorkerStatus.FAILED, f"the run's worker (process {pid}) has died")
        try:
            server_id = client.get_server_id(timeout=TIMEOUT_SECONDS)
        except DagsterUserCodeUnreachableError as error:
            cause = error.__cause__
            silent = isinstance(cause, grpc.RpcError) and cause.code() == grpc.StatusCode.UNAVAILABLE
            status = WorkerStatus.FAILED if silent and client.socket else WorkerStatus.RUNNING
            return CheckRunHealthResult(status, "the code server of the run has died" if silent else str(error))
        if run.tags.get(SERVER_ID, server_id) != server_id:
            return CheckRunHealthResult(WorkerStatus.FAILED, "the code server of the run has been restarted")
        return CheckRunHealthResult(WorkerStatus.RUNNING)

    def terminate(self, run_id: str) -> bool:
        """Cancel a run; a worker that has outlived its code server gets the interrupt by itself.

        A run that is starting ends here: its worker looks at the run's state before it executes anything. A worker that
        has just looked writes "started" after that, which run monitoring finds within seconds, or before it; then the
        worker is told to stop.
        """
        run = self._instance.get_run_by_id(run_id)
        if run and run.status == DagsterRunStatus.STARTING:
            client = self._get_grpc_client_for_termination(run_id)
            self._instance.report_run_canceled(run, "Cancelled before its worker executed anything.")
            if client and _logged(self._instance, run_id, DagsterEventType.RUN_START):
                client.cancel_execution(CancelExecutionRequest(run_id=run_id))
            return True
        client = self._get_grpc_client_for_termination(run_id)
        pid = started_process(self._instance, run_id) if client and client.socket else None
        worker = local_worker(self._instance, pid) if pid is not None else None
        try:
            if super().terminate(run_id):
                return True
        except DagsterUserCodeUnreachableError:
            if worker is None:
                raise
        if worker is None:
            return False
        with suppress(psutil.NoSuchProcess):
            try:
                worker.send_signal(signal.SIGINT)
            except psutil.AccessDenied:
                return False
        return True


class RunnerLauncher(CheckedRunLauncher):
    """Runs everything in one code server that does nothing else, `host:port`; deploy/dagster.yaml names it.

    The code location, the webserver and the daemon can then be restarted or replaced while a training goes on. The
    run's worker loads the definitions anew from the working copy, as it does under a code location.
    """

    def __init__(self, host: str, port: int, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._runner = DagsterGrpcClient(host=host, port=port)

    @classmethod
    def config_type(cls) -> Any:
        """Address of the runner."""
        return {"host": StringSource, "port": IntSource}

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]) -> Self:
        """The launcher of the `run_launcher` section of a dagster.yaml."""
        return cls(**config_value, inst_data=inst_data)

    def launch_run(self, context: LaunchRunContext) -> None:
        """Note the id of the runner, then launch in it."""
        self._note_server(context.dagster_run, self._runner)
        self.launch_run_from_grpc_client(self._instance, context.dagster_run, self._runner)
        self._run_ids.add(context.dagster_run.run_id)


def started_process(instance: DagsterInstance, run_id: str) -> int | None:
    """The number of the process that executes a run; None before it says so.

    Remembered, because it stays the same and is asked for every few seconds, of all engine events of the run.
    """
    if run_id in _processes:
        return _processes[run_id]
    of_type = {DagsterEventType.ENGINE_EVENT}
    for event in instance.event_log_storage.get_logs_for_run(run_id, of_type=of_type):
        pid = event.get_dagster_event().engine_event_data.metadata.get("pid")
        if pid is not None:
            return _processes.setdefault(run_id, int(str(pid.value)))
    return None


def _logged(instance: DagsterInstance, run_id: str, event: DagsterEventType) -> bool:
    """Whether a run's log has such an event."""
    return bool(instance.event_log_storage.get_logs_for_run(run_id, of_type={event}, limit=1))


def local_worker(instance: DagsterInstance, pid: int) -> psutil.Process | None:
    """The process with the number `pid` if it is a worker of the instance; None where the worker has ended.

    The number may meanwhile be another process's, so its command and its DAGSTER_HOME are looked at. Its start is not
    compared with the time in the run's log: that is the wall clock's, which may be set while the run goes on, and a
    living run would be marked as failed. Only root may look at the variables of another user's process, and only root
    starts workers for others; so to everybody else that process is none. A spawned one of the same user whose variables
    cannot be read counts as the worker.
    """
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if os.getuid() not in (0, process.uids().real) or not any(SPAWNED in part for part in process.cmdline()):
            return None
        with suppress(psutil.AccessDenied):
            home = process.environ().get("DAGSTER_HOME")
            if home and not _same_folder(home, instance.root_directory):
                return None
        return process
    return None


def _same_folder(first: str, second: str) -> bool:
    return os.path.realpath(first) == os.path.realpath(second)


def _client(context: LaunchRunContext) -> DagsterGrpcClient | None:
    """Id of the code server that will run it; None where the launch is going to be refused."""
    origin = context.dagster_run.remote_job_origin
    if context.workspace is None or origin is None:
        return None
    location = context.workspace.get_code_location(origin.repository_origin.code_location_origin.location_name)
    return location.client if isinstance(location, GrpcServerCodeLocation) else None
