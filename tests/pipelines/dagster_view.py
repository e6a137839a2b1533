"""The state of the toy project according to Dagster's own code, for the tests of this folder."""

from pathlib import Path

import dagster as dg
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from pipelines.dvc_project import DvcProject
from pipelines.mirror import missing_events


def statuses(defs: dg.Definitions, instance: dg.DagsterInstance) -> dict[str, str]:
    """Dagster's verdict on each asset (FRESH, STALE, MISSING), as its UI shows it, by DVC's stage name."""
    graph = defs.get_repository_def().asset_graph
    resolver = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    return {graph.get(k).metadata["dvc stage"]: resolver.get_status(k).value for k in graph.get_all_asset_keys()}


def stale(defs: dg.Definitions, instance: dg.DagsterInstance) -> set[str]:
    """Stages that Dagster would run."""
    return {name for name, status in statuses(defs, instance).items() if status != "FRESH"}


def mirror(folder: Path, instance: dg.DagsterInstance) -> list[str]:
    """What the sensor does on a tick; the stages it reported."""
    with DvcProject(folder) as project:
        events = list(missing_events(project, instance))
    for _, event in events:
        instance.report_runless_asset_event(event)
    return [name for name, _ in events]
