"""Experiment tracking: the only file that imports mlflow.

A stage worth comparing (training, evaluation) opens one run. Its parameters are the
flattened params, its datasets carry the digests of dvc.lock, its tags the git commit.
The store is `MLFLOW_TRACKING_URI`, else `mlflow.db` in the working folder. Metrics are
queued and written by a background thread, so that the training loop never waits.
`LLM_CORE_TRACKING=off` switches tracking off; every call then does nothing.
"""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from llm_core.errors import UserError
from llm_core.runtime import progress
from llm_core.runtime.digests import content_digest
from llm_core.tracking.dvc_context import baseline, context_tags, project_folder

EXPERIMENT = "llm-pipeline"
UNNAMEABLE = re.compile(r"[^\w\-. :/]")  # characters that MLflow takes in no name
PARAM_LENGTH = 6000  # MLflow's limit on a parameter's value


def tracking_uri() -> str:
    """Address of the tracking store: the environment's, else a sqlite file in the working folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{project_folder() / 'mlflow.db'}"


def enabled() -> bool:
    """Whether runs are recorded (not with LLM_CORE_TRACKING=off, nor on ranks above 0)."""
    return os.environ.get("LLM_CORE_TRACKING", "on") != "off" and os.environ.get("RANK", "0") == "0"


def has_store() -> bool:
    """Whether there is a tracking store to read from; looking never makes one."""
    given = os.environ.get("MLFLOW_TRACKING_URI")
    return enabled() and bool(given or (project_folder() / "mlflow.db").is_file())


class Run:
    """One run in the tracking store; a silent one where tracking is off."""

    def __init__(self, client: Any, run_id: str, experiment_id: str) -> None:
        self._client, self.run_id, self.experiment_id = client, run_id, experiment_id

    def params(self, params: Mapping[str, Any]) -> None:
        """Log flattened params."""
        if self._client:
            from mlflow.entities import Param

            entries = [Param(UNNAMEABLE.sub("_", key), str(value)[:PARAM_LENGTH]) for key, value in params.items()]
            for start in range(0, len(entries), 100):
                self._client.log_batch(self.run_id, params=entries[start : start + 100])

    def metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Queue metrics of a step; returns at once."""
        if self._client:
            import time

            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            entries = [Metric(key, float(value), now, step) for key, value in metrics.items()]
            self._client.log_batch(self.run_id, metrics=entries, synchronous=False)

    def tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        for key, value in tags.items() if self._client else ():
            self._client.set_tag(self.run_id, key, value)

    def dataset(self, path: str | Path, context: str) -> None:
        """Name an input or output folder by its digest, the one that dvc.lock has for it."""
        if self._client:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            dataset = Dataset(
                name=str(path), digest=content_digest(Path(path)), source_type="local", source=str(Path(path).resolve())
            )
            tag = InputTag("mlflow.data.context", context)
            self._client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, [tag])])

    def model(self, folder: str | Path, name: str = "model", example: bool = False) -> str | None:
        """Log a folder in Hugging Face layout as a model that `mlflow.pyfunc.load_model(…).predict(prompts)` runs.

        The folder itself is the artifact, so transformers loads it from the run, too.
        It is not registered here. `example` adds an input and the signature that it gives. Returns the model's id.
        """
        if self._client:
            import mlflow

            code = Path(__file__).parents[1] / "serving" / "mlflow_model.py"
            with mlflow.start_run(run_id=self.run_id, log_system_metrics=False):
                logged = mlflow.pyfunc.log_model(
                    name=name,
                    python_model=str(code),
                    artifacts={"model": str(folder)},
                    pip_requirements=["torch", "transformers"],
                    input_example=(["In the beginning"], {"max_new_tokens": 20}) if example else None,
                )
            return str(logged.model_id)
        return None

    def artifact(self, path: str | Path, folder: str | None = None) -> None:
        """Keep a copy of a file or a folder with the run."""
        if self._client:
            path = Path(path)
            if path.is_dir():
                self._client.log_artifacts(self.run_id, str(path), folder)
            else:
                self._client.log_artifact(self.run_id, str(path), folder)


@contextmanager
def run(
    name: str, params: Mapping[str, Any], tags: Mapping[str, str] | None = None, resume: str | None = None
) -> Iterator[Run]:
    """Open a run; it ends FINISHED, FAILED or KILLED as the block does. `resume`: the id of a run to go on with.

    It is shown under its stage (`evaluate@base`) and the DVC experiment it belongs to, else under `name`.
    """
    if not enabled():
        yield Run(None, "", "")
        return
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    mlflow.set_tracking_uri(tracking_uri())
    client = mlflow.MlflowClient()
    experiment_id = _experiment(client)
    belongs = context_tags()
    label = belongs["dvc.stage"] if "@" in belongs.get("dvc.stage", "") else name
    label = " ".join([label, belongs.get("dvc.experiment", "")]).strip()
    context = {"mlflow.runName": label, "stage": name, **git_tags(), **belongs, **(tags or {})}
    started_from = baseline()
    if started_from:
        context["mlflow.parentRunId"] = _parent(client, experiment_id, started_from)
    current = _resumed(client, resume, experiment_id)
    if current is None:
        created = client.create_run(experiment_id, run_name=label, tags=context)
        current = Run(client, created.info.run_id, experiment_id)
        current.params(params)
    progress.report({"mlflow_run_id": current.run_id, "mlflow_experiment_id": experiment_id})
    status = "FAILED"
    with _stoppable():
        try:
            yield current
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            mlflow.flush_async_logging()
            client.set_terminated(current.run_id, status)


@contextmanager
def _stoppable() -> Iterator[None]:
    """A TERM signal ends the block as Ctrl-C does; launchers send one after the other, and only the first counts."""
    numbers = (signal.SIGINT, signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _experiment(client: Any) -> str:
    """Id of the MLflow experiment; with the default store its artifacts lie in the project itself."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    own = not os.environ.get("MLFLOW_TRACKING_URI")
    place = (project_folder() / "mlruns" / name).resolve().as_uri() if own else None
    return str(client.create_experiment(name, artifact_location=place))


def _parent(client: Any, experiment_id: str, commit: str) -> str:
    """The run under which all DVC experiments on one commit stand; made by the first of them."""
    query = f"tags.`dvc.parent_of` = '{commit}'"
    for attempt in range(2):
        runs = client.search_runs([experiment_id], query, order_by=["attributes.start_time ASC"], max_results=1)
        if runs or attempt:
            break
        made = client.create_run(
            experiment_id,
            run_name=f"experiments on {commit[:7]}",
            tags={"dvc.parent_of": commit, "stage": "experiments"},
        )
        client.set_terminated(made.info.run_id)  # looked up again: of two made at once, the older one counts
    return str(runs[0].info.run_id)


def _resumed(client: Any, run_id: str | None, experiment_id: str) -> Run | None:
    from mlflow.exceptions import MlflowException

    if not run_id:
        return None
    try:
        client.update_run(run_id, status="RUNNING")
    except MlflowException:  # another store, or the run was deleted
        return None
    return Run(client, run_id, experiment_id)


def git_tags() -> dict[str, str]:
    """The commit that runs, and whether the working copy differs from it; {} outside git."""
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        status = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"mlflow.source.git.commit": commit, "git.dirty": str(bool(status.strip())).lower()}


def registered_models() -> list[str]:
    """Names of the registered models; [] where there is no store yet, or tracking is off."""
    if not has_store():
        return []
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    mlflow.set_tracking_uri(tracking_uri())
    return sorted(str(model.name) for model in mlflow.MlflowClient().search_registered_models())


def last_metrics(stage: str) -> dict[str, float]:
    """Every metric of the newest finished run whose stage begins so; {} without one (or with tracking off)."""
    if not has_store():
        return {}
    import mlflow

    mlflow.set_tracking_uri(tracking_uri())
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT))
    name = re.sub(r"[^\w-]", "", stage)  # it stands in a query
    wanted = f"tags.stage LIKE '{name}%' AND attributes.status = 'FINISHED'"
    runs = client.search_runs([experiment.experiment_id], wanted, max_results=1) if experiment and name else []
    return dict(runs[0].data.metrics) if runs else {}


def trace(name: str, inputs: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], outputs: Mapping[str, Any]) -> None:
    """Keep what an agent did as an MLflow trace: a root span, and one for each of `steps` (tool, input, output)."""
    if not enabled():
        return
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow

    mlflow.set_tracking_uri(tracking_uri())
    mlflow.set_experiment(experiment_id=_experiment(mlflow.MlflowClient()))
    with mlflow.start_span(name, span_type="AGENT") as root:
        root.set_inputs(dict(inputs))
        for step in steps:
            with mlflow.start_span(str(step["tool"]), span_type="TOOL") as span:
                span.set_inputs(step["input"])
                span.set_outputs(step["output"])
        root.set_outputs(dict(outputs))
    mlflow.flush_trace_async_logging()


class Registry:
    """Versions of one registered model in the tracking store. Raises UserError where tracking is off."""

    def __init__(self, name: str) -> None:
        if not enabled():
            raise UserError("LLM_CORE_TRACKING=off: the registry lives in the tracking store; switch tracking on")
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        import mlflow

        mlflow.set_tracking_uri(tracking_uri())
        self.name, self._client = name, mlflow.MlflowClient()

    def find(self, tags: Mapping[str, str]) -> str | None:
        """The newest version with all of these tags."""
        return next((str(v.version) for v in self._versions() if tags.items() <= v.tags.items()), None)

    def add(self, model: Path, evaluation: Path, metrics: Mapping[str, float], tags: Mapping[str, str]) -> str:
        """Log `model` with an example of its input, link `metrics` to it, keep `evaluation` beside; the new version."""
        import mlflow

        with run("register", {}, tags) as current:
            current.dataset(evaluation, "evaluation")
            current.artifact(evaluation, "evaluation")
            logged = current.model(model, example=True)
            for key, value in metrics.items():
                self._client.log_metric(current.run_id, key, value, model_id=logged)
        found = mlflow.register_model(f"models:/{logged}", self.name, tags=dict(tags))
        return str(found.version)

    def evaluation(self, version: str) -> Path:
        """A local copy of a version's evaluation. UserError where the version or the copy is gone."""
        import mlflow

        entry = self._entry(version)
        try:
            folder = mlflow.artifacts.download_artifacts(run_id=entry.run_id, artifact_path="evaluation")
        except (mlflow.exceptions.MlflowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"{self.name} version {version}: its evaluation is not in the store ({reason})") from None
        return Path(folder)

    def files(self, version: str, names: tuple[str, ...], into: Path) -> Path:
        """Bring files of a version's model folder, those that it has of `names`, below `into`; their folder."""
        import mlflow

        model, place = f"models:/{self.name}/{version}", into
        for folder in mlflow.artifacts.list_artifacts(artifact_uri=f"{model}/artifacts"):
            for file in mlflow.artifacts.list_artifacts(artifact_uri=f"{model}/{folder.path}"):
                if Path(file.path).name in names:
                    brought = mlflow.artifacts.download_artifacts(
                        artifact_uri=f"{model}/{file.path}", dst_path=str(into)
                    )
                    place = Path(brought).parent
        return place

    def version(self, alias: str) -> str | None:
        """The version that an alias points to; None where it points to none."""
        found = [v for v in self._versions() if alias in v.aliases]
        return str(found[0].version) if found else None

    def alias(self, alias: str, version: str) -> None:
        """Point an alias to a version."""
        self._entry(version)
        self._client.set_registered_model_alias(self.name, alias, version)

    def tag(self, version: str, key: str, value: str) -> None:
        """Set a tag of a version."""
        self._client.set_model_version_tag(self.name, version, key, value[:4000])

    def tags(self, version: str) -> dict[str, str]:
        """Tags of a version."""
        return dict(self._entry(version).tags)

    def listing(self) -> list[dict[str, Any]]:
        """Every version, newest first: version, model, aliases, gate."""
        return [
            {
                "version": str(v.version),
                "model": v.tags.get("model", ""),
                "aliases": ", ".join(sorted(v.aliases)),
                "gate": v.tags.get("gate", ""),
            }
            for v in self._versions()
        ]

    def _entry(self, version: str) -> Any:
        found = [v for v in self._versions() if str(v.version) == version]
        if not found:
            raise UserError(f"{self.name}: there is no version {version}; `llm-core promote` lists them")
        return found[0]

    def _versions(self) -> list[Any]:
        """All versions with their aliases, newest first (a search alone leaves the aliases out)."""
        found = self._client.search_model_versions(f"name = '{self.name}'")
        whole = [self._client.get_model_version(self.name, v.version) for v in found]
        return sorted(whole, key=lambda v: -int(v.version))
