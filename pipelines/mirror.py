"""Makes `dvc repro` in a shell equal to a click in Dagster: dvc.lock is mirrored as materializations.

Dagster calls an asset fresh when its code version and the data versions of its inputs are
those of its last materialization. For a stage that ran in a shell the same provenance is
written from dvc.lock: data version, code version, and the input versions that the run
*consumed*. The provenance tags are internals of Dagster (1.13); tests/pipelines checks them.
"""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
from dagster._core.definitions.data_version import (
    CODE_VERSION_TAG,
    DATA_VERSION_IS_USER_PROVIDED_TAG,
    DATA_VERSION_TAG,
    INPUT_DATA_VERSION_TAG_PREFIX,
    INPUT_EVENT_POINTER_TAG_PREFIX,
)

from llm_core.runtime import timings
from pipelines.dvc_project import DvcProject
from pipelines.metadata import MLFLOW_UI, mlflow_metadata, stage_metadata
from pipelines.run_queue import SUBMITTED
from pipelines.versions import BEFORE, NOTHING

UNFINISHED = [dg.DagsterRunStatus.NOT_STARTED, *SUBMITTED]
FORGOTTEN = "no entry in dvc.lock"
SPOILED = "; to be restored: "


def provenance(project: DvcProject, name: str) -> dict[str, str] | None:
    """The provenance tags of a stage from dvc.lock and the workspace; None before its first run.

    Deleted or edited outputs are part of the code version, so they make the asset stale until the stage has
    restored them, as under `dvc status`.
    """
    version = project.data_version(name)
    if version is None:
        return None
    spoiled = project.spoiled_outputs(name)
    code = (project.locked_code_version(name) or "") + (SPOILED + ", ".join(spoiled) if spoiled else "")
    tags = {DATA_VERSION_TAG: version, CODE_VERSION_TAG: code, DATA_VERSION_IS_USER_PROVIDED_TAG: "true"}
    for parent, consumed in project.consumed_versions(name).items():
        key = dg.AssetKey(project.stages[parent].key).to_user_string()
        tags[f"{INPUT_DATA_VERSION_TAG_PREFIX}/{key}"] = consumed
        tags[f"{INPUT_EVENT_POINTER_TAG_PREFIX}/{key}"] = "NULL"
    return tags


def made_anew(tags: Mapping[str, str]) -> bool:
    """Whether an event with these tags records a run of the stage, and not that its outputs or its entry are gone."""
    code = tags.get(CODE_VERSION_TAG, "")
    return code != FORGOTTEN and SPOILED not in code


def differs(recorded: dict[str, str], actual: dict[str, str], current: dict[str, str]) -> bool:
    """Whether Dagster's record of a stage contradicts dvc.lock.

    `current` holds the present data version of each parent's input tag. Where consumed versions
    are unknown ("before:…"), a record in which any of them already differs from the parent's
    present version is correct: the producers of one folder become unknown together when one
    of them has run again, and another event would make a stale stage look fresh.
    """
    if any(recorded.get(tag) != actual[tag] for tag in (DATA_VERSION_TAG, CODE_VERSION_TAG)):
        return True
    inputs = {tag for tag in (*recorded, *actual) if tag.startswith(f"{INPUT_DATA_VERSION_TAG_PREFIX}/")}
    unknown = {tag for tag in inputs if actual.get(tag, "").startswith(BEFORE)}
    if any(recorded.get(tag) != actual.get(tag) for tag in inputs - unknown):
        return True
    return bool(unknown) and all(recorded.get(tag, current[tag]) == current[tag] for tag in unknown)


def missing_events(
    project: DvcProject, instance: dg.DagsterInstance, known: set[dg.AssetKey] | None = None
) -> Iterator[tuple[str, dg.AssetMaterialization]]:
    """The materializations that Dagster lacks, stage by stage, parents first.

    Stages that a Dagster run is about to materialize are left to it, stages that a `dvc repro` is running are mirrored
    after its end (also where it began while this looked, and took the outputs away), and stages that the loaded code
    location does not know yet (`known`) wait for its reload.
    """
    busy: set[dg.AssetKey] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED)):
        busy |= set(run.asset_selection or ())
    for name in project.order():
        key = dg.AssetKey(project.stages[name].key)
        if key in busy or project.running(name) or (known is not None and key not in known):
            continue
        actual = provenance(project, name)
        event = instance.get_latest_materialization_event(key)
        recorded = dict(event.asset_materialization.tags or {}) if event and event.asset_materialization else {}
        if actual is None:
            if not recorded or recorded.get(CODE_VERSION_TAG) == FORGOTTEN:
                continue
            actual = {**recorded, CODE_VERSION_TAG: FORGOTTEN}
        current = {
            f"{INPUT_DATA_VERSION_TAG_PREFIX}/{dg.AssetKey(project.stages[parent].key).to_user_string()}": (
                project.data_version(parent) or NOTHING
            )
            for parent in project.parents[name]
        }
        if differs(recorded, actual, current) and (made_anew(actual) or not project.overtaken(name)):
            yield name, described(project, name, actual)


def described(project: DvcProject, name: str, tags: dict[str, str]) -> dg.AssetMaterialization:
    """The event of a stage: when it ran and what it made, or why it is stale.

    Dagster derives staleness only from materializations, so deleted outputs need one too; its description says
    that nothing was made.
    """
    key = dg.AssetKey(project.stages[name].key)
    if made_anew(tags):
        metadata = stage_metadata(project, project.stages[name]) | ran_at(project, name)
        metadata["mirrored from"] = "dvc.lock (the stage ran outside Dagster)"
        return dg.AssetMaterialization(key, tags=tags, metadata=metadata)
    gone = ", ".join(project.spoiled_outputs(name)) if name in project.lock else "its entry in dvc.lock"
    cause = "Deleted or changed, by hand or by a run that did not end"
    reason = f"Nothing was made. {cause}: {gone}; `dvc repro {name}` makes it."
    return dg.AssetMaterialization(key, description=reason, tags=tags, metadata={"not made": reason})


def ran_at(project: DvcProject, name: str) -> dict[str, Any]:
    """When the stage last ran here, how long it took, and its MLflow run, from its row in `.scratch/timings.jsonl`."""
    rows = [row for row in timings.last(project.root / timings.FILE) if row.get("stage") == name]
    if not rows:
        return {}
    row = rows[-1]
    ui = os.environ.get("MLFLOW_UI_URL", MLFLOW_UI)
    return {
        "ran at": dg.MetadataValue.timestamp(float(row["ended"])),
        "seconds": row["seconds"],
        **mlflow_metadata(row, ui),
    }
