"""Asset checks: the verdicts of `llm_core.checks` with thresholds from `params.checks`.

A blocking check that fails stops the stages after it in the same run. A check compares with the record of
its own last success (the last accepted text, the best accepted loss).
Stages that ran in a shell are checked by the job CHECKS_JOB, which the mirror of dvc.lock requests.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from pydantic import BaseModel

from llm_core.checks import Verdict
from pipelines.dvc_project import DvcProject
from pipelines.graph import Stage
from pipelines.metadata import SKIPPED, figures

if TYPE_CHECKING:  # importing the params' models takes half as long as importing DVC
    from llm_core.params.checks import Checks


CHECKS_JOB = "checks"


@dataclass(frozen=True)
class Look:
    """Inputs of a check: project, folder (or one file) of the stage, deps, thresholds, last accepted figures."""

    root: Path
    folder: Path
    deps: list[Path]
    params: "Checks"
    previous: Mapping[str, Any] | None
    version: str


def _licence(look: Look) -> Verdict:
    from llm_core.checks.text import licence_present

    return licence_present(look.folder, look.params)


def _retention(look: Look) -> Verdict:
    from llm_core.checks.text import retention

    return retention(look.folder, look.params, _section(look.root, "sources") or None)


def _drift(look: Look) -> Verdict:
    from llm_core.checks.text import drift

    return drift(look.folder, look.params, look.previous, look.version)


def _contamination(look: Look) -> Verdict:
    from llm_core.checks.text import contamination

    return contamination(look.folder, look.params)


def _false_duplicates(look: Look) -> Verdict:
    from llm_core.checks.text import false_duplicates

    return false_duplicates(look.folder, _documents(look.deps), look.params)


def _duplicate_bounds(look: Look) -> Verdict:
    from llm_core.checks.duplicates import duplicate_bounds
    from llm_core.params.deduplication import Deduplication
    from llm_core.runtime.storage import read_json

    params = Deduplication.model_validate(_section(look.root, "deduplication"))
    return duplicate_bounds(read_json(look.folder / "metrics.json"), params)


def _round_trip(look: Look) -> Verdict:
    from llm_core.checks.training import round_trip

    return round_trip(look.folder, _documents(look.deps)[0], look.params)


def _conservation(look: Look) -> Verdict:
    from llm_core.checks.training import conservation

    split = next(path.parent for path in look.deps if path.name == "train")
    return conservation(look.folder, split, look.params)


def _loss(look: Look) -> Verdict:
    from llm_core.checks.training import loss

    return loss(look.folder, look.params, look.previous)


def _gate(look: Look) -> Verdict:
    from llm_core.checks.promotion import gate

    return gate(look.folder)


@dataclass(frozen=True)
class Check:
    """A check of the stages of one group of dvc.yaml."""

    name: str
    stages: tuple[str, ...]
    look: Callable[[Look], Verdict]
    blocking: bool
    description: str
    of_new_alone: bool = False
    """A failure blocks only if the stage has run; a stage that DVC skipped was judged before, so it is a warning."""
    thresholds: tuple[str, ...] = ()
    """The params that it judges by, as dotted keys of params.yaml; shown with each verdict."""


CHECKS = (
    Check("licence_present", ("download", "clean"), _licence, True, "Every document names its licence."),
    Check(
        "retention",
        ("clean",),
        _retention,
        True,
        "Cleaning keeps enough of each source.",
        thresholds=("checks.retention_min", "checks.retention_min_by_source"),
    ),
    Check(
        "drift",
        ("clean",),
        _drift,
        True,
        "Lengths and languages stay near the last accepted version.",
        thresholds=("checks.length_drift_max", "checks.language_drift_max"),
    ),
    Check(
        "false_duplicates",
        ("dedup",),
        _false_duplicates,
        True,
        "Documents dropped as duplicates are similar to those kept.",
        thresholds=("checks.false_positives_max", "checks.similarity_min", "checks.sample"),
    ),
    Check(
        "duplicate_bounds",
        ("dedup",),
        _duplicate_bounds,
        True,
        "No source loses more than its allowed share.",
        thresholds=(
            "deduplication.max_dropped_share",
            "deduplication.max_dropped_share_by_source",
            "deduplication.max_false_positive_rate",
        ),
    ),
    Check(
        "contamination",
        ("decontaminate",),
        _contamination,
        True,
        "Few documents overlap with benchmarks.",
        thresholds=("checks.contamination_max",),
    ),
    Check(
        "round_trip",
        ("tokenizer",),
        _round_trip,
        True,
        "Decoding what was encoded gives the same text.",
        thresholds=("checks.sample",),
    ),
    Check("conservation", ("tokenize",), _conservation, True, "Each document of the split is in the tokens, once."),
    Check(
        "loss",
        ("pretrain",),
        _loss,
        True,
        "Losses are finite, and near the best accepted model's on the same tokens.",
        thresholds=("checks.loss_margin",),
    ),
    Check(
        "gate",
        ("register", "register-run"),
        _gate,
        True,
        "The challenger is better than the champion, by evaluation.gate or its finetune's gate.",
        True,
    ),
)


def asset_checks(project: DvcProject) -> Iterator[dg.AssetChecksDefinition]:
    """A Dagster asset check for each stage and each check that it has."""
    for stage in project.stages.values():
        for check in checks_of(stage):
            yield _asset_check(project.root, stage, check)


def checks_of(stage: Stage) -> list[Check]:
    """The checks that a stage has, by its group."""
    return [check for check in CHECKS if stage.group in check.stages]


def check_keys(stage: Stage) -> list[dg.AssetCheckKey]:
    """Keys of the checks that a stage has."""
    return [dg.AssetCheckKey(dg.AssetKey(stage.key), check.name) for check in checks_of(stage)]


def _asset_check(root: Path, stage: Stage, check: Check) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=dg.AssetKey(stage.key), name=check.name, blocking=check.blocking, description=check.description
    )
    def evaluate(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        key = dg.AssetCheckKey(dg.AssetKey(stage.key), check.name)
        blocks = check.blocking and not (check.of_new_alone and _skipped(context, dg.AssetKey(stage.key)))
        return run_check(root, stage.name, check, last_accepted(context.instance, key), blocks)

    return evaluate


def _skipped(context: dg.AssetCheckExecutionContext, key: dg.AssetKey) -> bool:
    """Whether this run materialized the asset without running its stage, because DVC found no change."""
    event = context.instance.get_latest_materialization_event(key)
    if event is None or event.run_id != context.run.run_id or event.asset_materialization is None:
        return False
    value = event.asset_materialization.metadata.get(SKIPPED)
    return value is not None and bool(value.value)


def run_check(
    root: Path, name: str, check: Check, previous: Mapping[str, Any] | None, blocks: bool = True
) -> dg.AssetCheckResult:
    """Evaluate a check on the present outputs of a stage; a failure is an error if it `blocks`, else a warning."""
    with DvcProject(root) as project:
        stage = project.stages[name]
        version = project.data_version(name) or ""
    verdict = check.look(
        Look(root, root / stage.folder, [root / dep for dep in stage.deps], thresholds(root), previous, version)
    )
    return dg.AssetCheckResult(
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.ERROR if blocks else dg.AssetCheckSeverity.WARN,
        description=verdict.message,
        metadata={
            **figures(verdict.figures),
            **_limits(root, check.thresholds),
            "figures": dg.MetadataValue.json(verdict.figures),
        },
    )


def last_accepted(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> Mapping[str, Any] | None:
    """Figures of the check's last success; None where there is none."""
    history = instance.event_log_storage.get_asset_check_execution_history(
        key, limit=1, status={AssetCheckExecutionRecordStatus.SUCCEEDED}
    )
    if not history or not history[0].event or not history[0].event.dagster_event:
        return None
    value = history[0].event.dagster_event.asset_check_evaluation_data.metadata.get("figures")
    return value.value if isinstance(value, dg.JsonMetadataValue) and isinstance(value.value, dict) else None


def thresholds(root: Path) -> "Checks":
    """`params.checks` of the working copy as it is now; the defaults if params.yaml has none."""
    from llm_core.params.checks import Checks

    return Checks.model_validate(_section(root, "checks"))


def _limits(root: Path, keys: tuple[str, ...]) -> dict[str, str]:
    """Each threshold as it is in params.yaml or by default, with its meaning."""
    from llm_core.params import Params

    found = {}
    for key in keys:
        section, _, name = key.partition(".")
        defaults: BaseModel = getattr(Params(), section)
        field = type(defaults).model_fields[name]
        value = _section(root, section).get(name, getattr(defaults, name))
        meaning = " ".join((field.description or "").split())
        found[f"threshold {key}"] = f"{'none' if value == {} else value}. {meaning}"
    return found


def _section(root: Path, name: str) -> dict[str, Any]:
    from llm_core.params.reading import read_values

    return read_values(root / "params.yaml").get(name) or {}


def _documents(paths: list[Path]) -> list[Path]:
    """Folders among a stage's deps that hold documents: themselves, or one level down (`data/clean`)."""
    from llm_core.runtime.storage import glob_files

    found = []
    for path in paths:
        if path.is_dir():
            folders = [path, *sorted(inner for inner in path.iterdir() if inner.is_dir())]
            found += [folder for folder in folders if glob_files(folder, "documents/*.parquet")]
            if path.name == "documents" and glob_files(path, "*.parquet"):
                found.append(path)
    return found
