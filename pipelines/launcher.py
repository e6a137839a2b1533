"""Dagster's default launcher, and whether the worker of a run can still be alive; dagster.yaml names it.

A code server that lives marks its own dead workers as failed. Where it died with them (power cut, out of memory) nobody
does: the run stays "started" indefinitely, and the queue of one run behind it. With the check below the daemon's run
monitoring marks it. Whatever is not certain counts as alive, so that no training is failed by mistake.
"""

from contextlib import suppress

import grpc
from dagster import DagsterRun
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, DefaultRunLauncher, LaunchRunContext, WorkerStatus
from dagster._core.remote_representation.code_location import GrpcServerCodeLocation
from dagster._grpc.client import DagsterGrpcClient

SERVER_ID = "pipelines/code_server_id"
TIMEOUT_SECONDS = 10


class CheckedRunLauncher(DefaultRunLauncher):
    """`DefaultRunLauncher` whose runs fail once the code server that runs them is gone.

    A socket (`make ui`) belongs to one server: nothing listens, it is gone. Behind a host and port (deploy/) a network
    may fail for a moment, and a container that starts again has the same address: there, another server's id tells.
    """

    def launch_run(self, context: LaunchRunContext) -> None:
        """Note the id of a server behind a port, then launch.

        In this order: Dagster reads, changes and writes a run's record, so that a tag written while the run's worker
        writes its start can be lost.
        """
        client = _client(context)
        if client and client.port:
            with suppress(DagsterUserCodeUnreachableError):  # the launch itself tells why
                server_id = client.get_server_id(timeout=TIMEOUT_SECONDS)
                self._instance.add_run_tags(context.dagster_run.run_id, {SERVER_ID: server_id})
        super().launch_run(context)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes: run monitoring asks."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """FAILED if the run's code server is gone, else RUNNING."""
        client = self._get_grpc_client_for_termination(run.run_id)
        if client is None:
            return CheckRunHealthResult(WorkerStatus.RUNNING, "the run names no code server")
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


def _client(context: LaunchRunContext) -> DagsterGrpcClient | None:
    """Of the code server that is to run it; None where the launch below is going to refuse."""
    origin = context.dagster_run.remote_job_origin
    if context.workspace is None or origin is None:
        return None
    location = context.workspace.get_code_location(origin.repository_origin.code_location_origin.location_name)
    return location.client if isinstance(location, GrpcServerCodeLocation) else None
