"""Jobs, schedules and sensors: what runs by itself, and what follows dvc.lock."""

import os
from pathlib import Path

import dagster as dg

from pipelines.dvc_project import DvcProject
from pipelines.mirror import missing_events

MIRROR_SECONDS = 10
WEEKLY = "0 3 * * 0"  # Sunday night


def automation(project: DvcProject) -> dg.Definitions:
    """The whole graph as a job, its weekly schedule (off until switched on), and the mirror of dvc.lock."""
    everything = dg.define_asset_job(
        "whole_graph", dg.AssetSelection.all(), description="Every stage; DVC skips what did not change."
    )
    weekly = dg.ScheduleDefinition(
        name="weekly",
        job=everything,
        cron_schedule=WEEKLY,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="The whole graph once a week; stages whose inputs did not change cost nothing.",
    )
    return dg.Definitions(
        jobs=[everything],
        schedules=[weekly],
        sensors=[mirror_sensor(project.root)],
        executor=executor(),
    )


def executor() -> dg.ExecutorDefinition:
    """One process for all stages of a run, or PIPELINE_PARALLEL_STAGES of them at a time.

    Process start is the main cost of small stages: ten no-op stages took 9 s in one process,
    23 s under forkserver with preloaded modules, 62 s under spawn.
    """
    parallel = int(os.environ.get("PIPELINE_PARALLEL_STAGES", "1"))
    if parallel <= 1:
        return dg.in_process_executor
    preload = {"forkserver": {"preload_modules": ["dagster", "dvc.repo", "pipelines.component"]}}
    return dg.multiprocess_executor.configured(
        {"max_concurrent": parallel, "start_method": preload}, name="parallel_stages"
    )


def mirror_sensor(root: Path) -> dg.SensorDefinition:
    """The sensor that shows `dvc repro` runs of a shell as fresh assets."""

    @dg.sensor(
        name="mirror_dvc_lock",
        minimum_interval_seconds=MIRROR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reads dvc.lock: what `dvc repro` made in a shell appears here with its full provenance.",
    )
    def mirror(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        repository = context.repository_def
        known = set(repository.asset_graph.get_all_asset_keys()) if repository else None
        with DvcProject(root) as project:
            events = list(missing_events(project, context.instance, known))
        if not events:
            return dg.SkipReason("dvc.lock says nothing that Dagster does not know")
        context.log.info(f"mirrored: {', '.join(name for name, _ in events)}")
        return dg.SensorResult(asset_events=[event for _, event in events])

    return mirror
