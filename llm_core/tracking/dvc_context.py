"""The DVC experiment around a run, read from the environment.

`dvc exp run -S KEY=VALUE` (in the workspace, with --temp, queued, or a grid) gives its
stages the experiment's name, the commit it started from, and the folder of the project
itself. From these come the tags of an MLflow run, so that all experiments on one commit are listed
under one parent, each with the params it changed.
"""

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from llm_core.runtime.nested import flatten


def project_folder() -> Path:
    """The project's own folder, also where a stage runs in a temporary copy of it."""
    return Path(os.environ.get("DVC_ROOT") or Path.cwd())


def baseline() -> str | None:
    """The commit from which the present DVC experiment started; None outside an experiment."""
    return os.environ.get("DVC_EXP_BASELINE_REV") if os.environ.get("DVC_EXP_NAME") else None


def context_tags() -> dict[str, str]:
    """Tags that say where a run belongs: its DVC stage, experiment, changed params, Dagster run."""
    tags = {
        "dvc.stage": os.environ.get("DVC_STAGE", "").rpartition(":")[2],
        "dvc.experiment": os.environ.get("DVC_EXP_NAME", ""),
        "dvc.baseline": baseline() or "",
        "dagster.run_id": os.environ.get("LLM_CORE_DAGSTER_RUN_ID", ""),
    }
    commit = baseline()
    if commit:
        tags |= {f"changed.{key}": str(value)[:250] for key, value in changed_params(commit).items()}
    return {key: value for key, value in tags.items() if value}


def changed_params(commit: str, file: str = "params.yaml") -> dict[str, Any]:
    """Flattened params of the working folder that differ from those of a commit; {} where it cannot be read."""
    try:
        before = subprocess.run(["git", "show", f"{commit}:./{file}"], capture_output=True, text=True, check=True)
        old, new = (flatten(yaml.safe_load(text) or {}) for text in (before.stdout, Path(file).read_text("utf-8")))
    except (OSError, subprocess.CalledProcessError, yaml.YAMLError):
        return {}
    return {key: new.get(key) for key in sorted({*old, *new}) if old.get(key) != new.get(key)}
