"""Studies as partitions: the foreach stages of `experiments/*/dvc.yaml`, one partition for each of their items.

The rungs of the scaling ladder or the finetunes on demand are each an asset; a study is their set, which one wants to
run as a whole, in part, or again where it failed. The job `study_scaling_rung` has a partition for each rung, and its
page *Partitions* starts a backfill over any of them. A partition runs `dvc repro` on its stage, with what the stage
reads of other graphs. DVC alone knows what is made: a fresh partition costs nothing, and the sensor `mirror_dvc_lock`
shows what ran as materialized assets.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg

from pipelines.dvc_project import DvcProject
from pipelines.graph import Stage, identifier
from pipelines.stage_run import run_dvc


def studies(project: DvcProject) -> dict[str, dict[str, str]]:
    """The foreach and matrix stages of experiments: a study's name -> item -> stage."""
    found: dict[str, dict[str, str]] = {}
    for name, stage in project.stages.items():
        _, at, item = stage.plain_name.partition("@")
        if stage.experiment and at:
            found.setdefault(f"{identifier(stage.experiment)}_{identifier(stage.group)}", {})[item] = name
    return found


def study_jobs(project: DvcProject, pool_of: Callable[[Stage], str | None]) -> Iterator[dg.JobDefinition]:
    """The partitioned job of each study; `pool_of` names the pool in which a stage waits for others."""
    for study, stages in studies(project).items():
        yield _job(project.root, study, stages, pool_of(project.stages[next(iter(stages.values()))]))


def _job(root: Path, study: str, stages: dict[str, str], pool: str | None) -> dg.JobDefinition:
    group = next(iter(stages.values())).rpartition("@")[0]
    description = f"A study: `dvc repro {group}@ITEM` for each of {', '.join(stages)}; *Partitions* runs many of them."

    @dg.op(name=f"{study}_item", description=description, pool=pool)
    def item(context: dg.OpExecutionContext) -> None:
        stage = stages[context.partition_key]
        run = run_dvc(context, root, ["--wait-for-lock", "repro", stage])
        context.add_output_metadata({"stage": stage, "seconds": round(run.seconds, 2)})

    partitions = dg.StaticPartitionsDefinition(list(stages))

    @dg.job(name=f"study_{study}", description=description, partitions_def=partitions)
    def job() -> None:
        item()

    return job
