"""Jobs, schedules, sensors and conditions: what runs automatically, and the sensor that follows dvc.lock."""

import json
import os
import urllib.request
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import dagster as dg

from pipelines.checks import CHECKS_JOB, check_keys, checks_of
from pipelines.dvc_project import DvcProject
from pipelines.experiment import experiment_job
from pipelines.graph import identifier
from pipelines.loopback import open_directly
from pipelines.mirror import made_anew, missing_events
from pipelines.plan import targeted
from pipelines.snapshots import crawl_changes, snapshot_sensor

MIRROR_SECONDS = 10
WEEKLY = "0 3 * * 0"  # Sunday night; PIPELINE_CRON gives another
RELOAD = "mutation { reloadWorkspace { __typename } }"

STALE = (
    (
        dg.AutomationCondition.code_version_changed()
        | dg.AutomationCondition.any_deps_match(dg.AutomationCondition.data_version_changed())
        | dg.AutomationCondition.newly_missing()
        # On first evaluation Dagster cannot know what changed earlier: it requests everything, DVC skips what is fresh.
        | dg.AutomationCondition.initial_evaluation()
    ).since(dg.AutomationCondition.newly_requested() | dg.AutomationCondition.newly_updated())
    & ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("rebuild what a changed input, param or code made stale")


def automation(project: DvcProject) -> dg.Definitions:
    """Jobs, the default graph's weekly schedule and the sensors; experiments run on demand."""
    default_graph = dg.AssetSelection.assets(*(s.key for s in project.stages.values() if not s.experiment))
    everything = dg.define_asset_job(
        "whole_graph", default_graph, description="Every stage of the top dvc.yaml; DVC skips what did not change."
    )
    experiments = {stage.experiment: stage.file for stage in project.stages.values() if stage.experiment}
    on_demand = [
        dg.define_asset_job(
            f"whole_graph_{identifier(experiment)}",
            dg.AssetSelection.assets(*(project.stages[name].key for name in sorted(targeted(project, [file])))),
            description=f"`dvc repro {file}`: its stages and all that they read from; DVC skips what did not change.",
        )
        for experiment, file in experiments.items()
    ]
    weekly = dg.ScheduleDefinition(
        name="weekly",
        job=everything,
        cron_schedule=os.environ.get("PIPELINE_CRON") or WEEKLY,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="The whole graph once a week; stages whose inputs did not change cost nothing.",
    )
    rebuild = dg.AutomationConditionSensorDefinition(
        "rebuild_stale",
        target=default_graph,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Materializes what a changed input, param or code made stale; unchanged outputs stop it there.",
    )
    checks = []
    if any(checks_of(stage) for stage in project.stages.values()):
        description = "Checks of stages that ran in a shell; the sensor mirror_dvc_lock asks for them."
        checks = [dg.define_asset_job(CHECKS_JOB, dg.AssetSelection.all_asset_checks(), description=description)]
    return dg.Definitions(
        jobs=[everything, *on_demand, *checks, experiment_job(project.root)],
        schedules=[weekly],
        sensors=[mirror_sensor(project, checks), rebuild, snapshot_sensor(project, default_graph)],
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


def mirror_sensor(loaded: DvcProject, checks: Sequence[Any] = ()) -> dg.SensorDefinition:
    """The sensor that shows `dvc repro` runs of a shell as fresh assets, and starts the job `checks` for them.

    Loaded definitions do not change. Where the webserver's address is known
    (DAGSTER_WEBSERVER_URL, set by `make ui`), this sensor requests a reload after an edit of dvc.yaml,
    params.yaml or a stage's code, so that the graph shows what is stale without a click.
    """
    root, versions = loaded.root, code_versions(loaded)

    @dg.sensor(
        name="mirror_dvc_lock",
        jobs=checks or None,
        minimum_interval_seconds=MIRROR_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Reads dvc.lock: what `dvc repro` made in a shell appears here with its full provenance.",
    )
    def mirror(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        known = set(context.repository_def.asset_graph.get_all_asset_keys()) if context.repository_def else None
        from dvc.lock import LockError

        try:
            with DvcProject(root) as project:
                edited = code_versions(project) != versions
                events = list(missing_events(project, context.instance, known))
                made = [project.stages[name] for name, event in events if made_anew(event.tags or {})]
                keys = [key for stage in made for key in check_keys(stage)]
                crawls = crawl_changes(project, context.instance)
        except LockError:
            return dg.SkipReason("another dvc command holds the repository's lock; dvc.lock is read at the next tick")
        if edited:
            reload_code_location(context)
        if not events and not crawls:
            return dg.SkipReason("dvc.lock contains nothing new for Dagster")
        context.log.info(f"mirrored: {', '.join([*(name for name, _ in events), *crawls.names])}")
        wanted = [dg.RunRequest(job_name=CHECKS_JOB, asset_selection=[], asset_check_keys=keys)] if keys else []
        return dg.SensorResult(
            asset_events=[*(event for _, event in events), *crawls.made],
            dynamic_partitions_requests=crawls.requests,
            run_requests=wanted,
        )

    return mirror


def code_versions(project: DvcProject) -> dict[str, tuple[str, ...]]:
    """The state that the loaded assets were made from: each stage's code version and parents."""
    return {name: (project.workspace_code_version(name), *project.parents[name]) for name in project.stages}


def reload_code_location(context: dg.SensorEvaluationContext) -> None:
    """Ask the webserver to load the definitions again; where its address is not known, only log that it is needed."""
    address = os.environ.get("DAGSTER_WEBSERVER_URL")
    if not address:
        context.log.info("dvc.yaml, params.yaml or code has changed: reload the code location to see what is stale")
        return
    body = json.dumps({"query": RELOAD}).encode()
    request = urllib.request.Request(f"{address}/graphql", body, {"content-type": "application/json"})
    with suppress(OSError):  # a webserver that is starting; the next tick asks again
        open_directly(request, timeout=30).close()
        context.log.info("dvc.yaml, params.yaml or code has changed: definitions loaded again")
