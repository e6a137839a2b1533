"""Dagster's run queue, which logs what a waiting run waits for; dagster.yaml names it."""

from dagster import DagsterRun, DagsterRunStatus, QueuedRunCoordinator, RunsFilter, SubmitRunContext

import pipelines.launcher  # noqa: F401 - lets the webserver, which loads this first, cancel runs that are starting

SUBMITTED = [
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
]
"""of runs that were requested and have not ended"""


class ExplainedRunQueue(QueuedRunCoordinator):
    """`QueuedRunCoordinator`; a waiting run logs the runs before it and the limit."""

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        """Queue a run, and log an event if it cannot start at once."""
        run = super().submit_run(context)
        queue = self._instance.get_concurrency_config().run_queue_config
        limit = queue.max_concurrent_runs if queue else -1
        before = [
            other for other in self._instance.get_runs(RunsFilter(statuses=SUBMITTED)) if other.run_id != run.run_id
        ]
        if 0 <= limit <= len(before):
            runs = ", ".join(other.run_id[:8] for other in reversed(before))
            text = (
                f"queued behind {runs}: at most {limit} at a time (max_concurrent_runs), so that dvc.lock stays whole"
            )
            self._instance.report_engine_event(text, run)
        return run
