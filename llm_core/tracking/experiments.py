"""MLflow's experiments of a project: one each for trainings, evaluations, the registry's runs and uses of models.

The trainings have the plain name, so that stores and links from before there were others keep working.
"""

import os
from typing import Any, Literal

from llm_core.tracking.store import artifacts_folder

Kind = Literal["training", "evaluation", "registry", "use"]
EXPERIMENT = "llm-pipeline"
NOTE = "mlflow.note.content"
"""tag that MLflow shows as the description of an experiment or a run, as Markdown"""
SHOWN_AS = {"training": "custom_model_development", "evaluation": "custom_model_development",
            "registry": "custom_model_development", "use": "genai_development"}  # fmt: skip
"""value of `mlflow.experimentKind`: an experiment opens on its runs, or on its traces"""
DESCRIPTIONS: dict[Kind, str] = {
    "training": "Trainings: pretraining, finetuning, word vectors. Each run has the params that its stage declares, "
    "its losses, the digests of its data as in `dvc.lock`, and its model. A run's name says which params differ "
    "from the run before it. To compare: tick two runs, *Compare*, and show differences only.",
    "evaluation": "Evaluations: bits per byte of held-out text, benchmarks, answers, each with its error and its "
    "baselines, and the report. The tags `model_digest` and `evaluation_digest` lead to the version in the registry.",
    "registry": "Registrations: each run keeps the evaluation by which the gate judged a version.",
    "use": "Traces of the agent, of questions to an index and of the server: what was asked of which model and tool.",
}


def experiment_name(kind: Kind = "training") -> str:
    """The name of an experiment; MLFLOW_EXPERIMENT_NAME replaces its first part."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    return name if kind == "training" else f"{name}-{kind}"


def experiment(client: Any, kind: Kind = "training") -> str:
    """Id of the MLflow experiment, made at first use; with the default store its artifacts lie in the project."""
    name = experiment_name(kind)
    found = client.get_experiment_by_name(name)
    if found and NOTE in found.tags:
        return str(found.experiment_id)
    tags = {NOTE: DESCRIPTIONS[kind], "mlflow.experimentKind": SHOWN_AS[kind]}
    if found:  # from an earlier version of this project, or made by hand
        for key, value in tags.items():
            if key not in found.tags:
                client.set_experiment_tag(found.experiment_id, key, value)
        return str(found.experiment_id)
    folder = artifacts_folder()
    place = (folder / name).as_uri() if folder else None
    return str(client.create_experiment(name, artifact_location=place, tags=tags))


def all_experiments(client: Any) -> list[str]:
    """Ids of the project's experiments that there are."""
    found = [client.get_experiment_by_name(experiment_name(kind)) for kind in DESCRIPTIONS]
    return [str(each.experiment_id) for each in found if each]


def run_link(experiment_id: str, run_id: str, page: str = "") -> str:
    """Address of a run, or of a page of it, inside MLflow's pages, for a link in a description or of another program.

    Without `workflowType` MLflow shows any run below *Evaluation runs*, among pages for traces and judges.
    """
    return f"#/experiments/{experiment_id}/runs/{run_id}{page}?workflowType=machine_learning"
