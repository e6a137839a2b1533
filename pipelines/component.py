"""dvc.yaml as Dagster assets: one asset per stage, built by a component that a project can override.

The stages of a dvc.yaml below `experiments/` are assets too, in a group `experiments/FOLDER`: Dagster's graph opens
with one node for all of them, and fits the page. No schedule or condition runs them; a user materializes them, or
launches their file's job.

Subclass `DvcProjectComponent`, override `get_asset_spec` (the translator: key, group, kinds,
owners, description) and name the subclass in `defs/graph/defs.yaml`. A stage's own
values are in dvc.yaml under `meta:` (`group`, `kinds`, `owners`, `pool`, `retries`).
"""

import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from llm_core.cli import VERBS
from llm_core.formats.pages import cell_text
from pipelines.automation import STALE, automation
from pipelines.checks import asset_checks
from pipelines.dvc_project import DvcProject
from pipelines.graph import EXPERIMENTS, Stage, identifier
from pipelines.metadata import MLFLOW_UI, SKIPPED, mlflow_metadata, stage_metadata
from pipelines.plan import cost, expectation, price_of_cpu_hour, stale_reasons
from pipelines.snapshots import FORCE_TAG, crawl_assets
from pipelines.stage_run import StageRun, run_stage
from pipelines.studies import study_jobs

GROUPS = {  # group in the UI -> stages of dvc.yaml; `meta: {group: …}` wins
    "sources": ("inputs", "download", "dataset", "benchmarks", "extract"),
    "documents": ("clean", "dedup", "decontaminate", "split", "mix"),
    "tokens": ("tokenizer", "tokenize"),
    "models": (
        "pretrain",
        "finetune-data",
        "finetune",
        "finetune-reader",
        "pretrain-encoder",
        "tune-encoder",
        "rung",
        "word2vec",
    ),
    "evaluation": (
        "evaluate",
        "evaluate-run",
        "evaluate-retrieval",
        "evaluate-reader",
        "evaluate-tuned",
        "register",
        "register-run",
        "promote",
        "promote-run",
        "compare",
        "card",
        "report",
        "lineage",
    ),
}
KINDS = {
    "sources": {"dvc", "parquet"},
    "documents": {"dvc", "parquet"},
    "tokens": {"dvc", "arrow"},
    "models": {"dvc", "pytorch", "mlflow"},
    "evaluation": {"dvc", "mlflow"},
}
POOLS = {"models": "training"}  # one training at a time: dagster.yaml
DOWNLOADS = "sources"  # the group whose failures are retried, because the network may recover
RETRIES, RETRY_SECONDS = 3, 20


class DvcProjectComponent(dg.Component, dg.Model, dg.Resolvable):
    """The stages of a DVC project as assets whose data versions are the hashes in dvc.lock."""

    project: str = "."
    """Folder of dvc.yaml, from the working directory; the environment's PIPELINE_PROJECT wins."""

    @property
    def root(self) -> Path:
        """The DVC project's folder."""
        return Path(os.environ.get("PIPELINE_PROJECT") or self.project).resolve()

    def group_of(self, stage: Stage) -> str:
        """Group of a stage in the UI."""
        own = "/".join((EXPERIMENTS, *map(identifier, stage.experiment.split("/")))) if stage.experiment else ""
        return str(stage.meta.get("group") or own or kind_of(stage))

    def get_asset_spec(self, project: DvcProject, stage: Stage) -> dg.AssetSpec:
        """Translate a stage; override to change keys, groups, kinds, owners or descriptions."""
        command = stage.cmd.replace(" --", " \\\n      --")
        by_hand = f"dvc repro --single-item {stage.name}"
        return dg.AssetSpec(
            key=stage.key,
            deps=[dg.AssetKey(project.stages[parent].key) for parent in project.parents[stage.name]],
            group_name=self.group_of(stage),
            kinds=set(stage.meta.get("kinds") or KINDS.get(kind_of(stage), {"dvc"})),
            owners=stage.meta.get("owners") or ["team:pipeline"],
            # The list of assets shows a description's Markdown as it is, where a fence of backticks is ugly.
            description=f"{stage.desc}.\n\n    {command}\n\nThe same in a shell: `{by_hand}`",
            automation_condition=None if stage.experiment else STALE,
            code_version=project.workspace_code_version(stage.name),
            metadata={
                "dvc stage": stage.name,
                "params": ", ".join(stage.params) or "none",
                "reads": ", ".join(stage.deps) or "nothing",
                "writes": ", ".join(out.path for out in stage.outs) or "nothing",
                "a run takes": cost(expectation(project, stage.name), price_of_cpu_hour()),
                "dagster/code_references": source_link(project, stage),
            },
        )

    def build_asset(self, project: DvcProject, stage: Stage) -> dg.AssetsDefinition:
        """The asset of one stage: materializing it runs `dvc repro --single-item`."""
        spec = self.get_asset_spec(project, stage)
        root = project.root
        kind = kind_of(stage)
        retries = int(stage.meta.get("retries", RETRIES if kind == DOWNLOADS else 0))

        @dg.multi_asset(
            name="__".join(stage.key),
            specs=[spec],
            pool=pool_of(stage),
            retry_policy=dg.RetryPolicy(retries, RETRY_SECONDS, dg.Backoff.EXPONENTIAL, dg.Jitter.PLUS_MINUS)
            if retries
            else None,
        )
        def materialize(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
            yield materialize_stage(context, root, stage.name, spec.key)

        return materialize

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Assets, checks, jobs, schedules and sensors of the project."""
        with DvcProject(self.root) as project:
            assets = [self.build_asset(project, stage) for stage in project.stages.values()]
            checks = list(asset_checks(project))
            growing = [*crawl_assets(project, DOWNLOADS)]
            studies = dg.Definitions(jobs=[*study_jobs(project, pool_of)])
            return dg.Definitions.merge(
                dg.Definitions(assets=[*assets, *growing], asset_checks=checks), studies, automation(project)
            )


def kind_of(stage: Stage) -> str:
    """The kind of work of a stage, by its name: a key of GROUPS, or "pipeline"."""
    return next((kind for kind, stages in GROUPS.items() if stage.group in stages), "pipeline")


def pool_of(stage: Stage) -> str | None:
    """The pool in which a stage waits for others; None where it need not."""
    return stage.meta.get("pool") or POOLS.get(kind_of(stage))


def source_link(project: DvcProject, stage: Stage) -> dg.CodeReferencesMetadataValue:
    """The stage's lines in its dvc.yaml and the module of its verb, which Dagster opens in an editor."""
    places = [(project.root / stage.file, project.lines[stage.name], f"{stage.group} in {stage.file}")]
    for verb in re.findall(r"\bllm-core ([a-z0-9-]+)", stage.cmd)[:1]:
        module = project.root / "llm_core/cli" / f"{VERBS.get(verb, (verb,))[0]}.py"
        places += [(module, 1, f"llm-core {verb}")] if module.is_file() else []
    with warnings.catch_warnings(action="ignore", category=dg.BetaWarning):
        found = [
            dg.LocalFileCodeReference(file_path=str(file), line_number=line, label=label)
            for file, line, label in places
        ]
        return dg.CodeReferencesMetadataValue(code_references=found)


def materialize_stage(
    context: dg.AssetExecutionContext, root: Path, name: str, key: dg.AssetKey
) -> dg.MaterializeResult[Any]:
    """Run a stage and give Dagster its entry in dvc.lock.

    Where DVC would skip the stage it is not started, because its start takes more than a second.
    """
    forced = context.run.tags.get(FORCE_TAG, "") == name.replace("@", ".")
    started = time.monotonic()
    with DvcProject(root) as project:
        if not forced and project.fresh(name):
            context.log.info(f"{name} didn't change: dvc.lock, its inputs, params, command and outputs agree")
            return result(project, name, key, StageRun(time.monotonic() - started, skipped=True))
        why = stale_reasons(project, name) or ["this run repeats it"]
        expected = cost(expectation(project, name), price_of_cpu_hour())
    context.log.info(f"{name} runs: {'; '.join(why)}. Expected: {expected}")
    run = run_stage(context, root, name, force=forced)
    reasons = "\n".join(f"- {cell_text(reason)}" for reason in why)  # they name files and values of params
    plan = {"why it ran": dg.MetadataValue.md(reasons), "expected": expected}
    with DvcProject(root) as project:
        return result(project, name, key, run, plan)


def result(
    project: DvcProject, name: str, key: dg.AssetKey, run: StageRun, plan: Mapping[str, Any] | None = None
) -> dg.MaterializeResult[Any]:
    """A stage's data version and metadata from dvc.lock and its files; `plan`: the expectation before it ran."""
    version = project.data_version(name)
    if version is None:
        raise dg.Failure(f"dvc.lock has no entry for {name} after its run; see `dvc status {name}`")
    metadata = {
        **stage_metadata(project, project.stages[name]),
        **mlflow_metadata(run.reported, os.environ.get("MLFLOW_UI_URL", MLFLOW_UI)),
        "seconds": round(run.seconds, 2),
        SKIPPED: run.skipped,
        **(plan or {}),
    }
    return dg.MaterializeResult(asset_key=key, metadata=metadata, data_version=dg.DataVersion(version))
