"""An experiment from Dagster's launchpad: `dvc exp run` with overridden params; the working copy does not change.

In the UI: Jobs, `experiment`, Launchpad. The params are written as in params.yaml:

    ops:
      dvc_exp_run:
        config:
          params:
            pretraining: {steps: 50}

Its MLflow runs are below the commit's parent run with the changed params as tags, as those of
`dvc exp run -S` in a shell do; `dvc exp apply NAME` applies the experiment to the working copy.
"""

import json
import os
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from llm_core.runtime.nested import flatten
from pipelines.metadata import MLFLOW_UI, mlflow_metadata
from pipelines.stage_run import run_dvc

EXAMPLE = {"params": {"pretraining": {"steps": 50}}, "targets": ["pretrain"], "name": ""}
"""what the launchpad shows first"""


class ExperimentConfig(dg.Config):
    """The job's configuration in the launchpad."""

    params: dict[str, Any] = Field(description="params to override, nested as in params.yaml or with dotted keys")
    targets: list[str] = Field(default_factory=list, description="stages to bring up to date; all where none is named")
    name: str = Field(default="", description="name of the DVC experiment; made from the run's id where empty")


def experiment_job(root: Path) -> dg.JobDefinition:
    """The job `experiment` over the project at `root`."""

    @dg.op(name="dvc_exp_run", description=__doc__)
    def dvc_exp_run(context: dg.OpExecutionContext, config: ExperimentConfig) -> None:
        name = config.name or f"launchpad-{context.run_id[:8]}"
        changed = flatten(config.params)
        overrides = [part for key, value in changed.items() for part in ("--set-param", f"{key}={json.dumps(value)}")]
        run = run_dvc(context, root, ["exp", "run", "--temp", "--name", name, *overrides, *config.targets])
        ui = os.environ.get("MLFLOW_UI_URL", MLFLOW_UI)
        links: dict[str, Any] = {}
        for message in run.messages:
            links |= {f"{label} {len(links) + 1}": url for label, url in mlflow_metadata(message, ui).items()}
        context.add_output_metadata(
            {
                "experiment": name,
                "changed": json.dumps(changed),
                "take it over": f"dvc exp apply {name}",
                "seconds": round(run.seconds, 2),
                **links,
            }
        )

    @dg.job(
        name="experiment",
        description="`dvc exp run` with params overridden in the launchpad.",
        config={"ops": {"dvc_exp_run": {"config": EXAMPLE}}},
    )
    def job() -> None:
        dvc_exp_run()

    return job
