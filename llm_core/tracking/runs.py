"""Runs in the tracking store.

A stage worth comparing (training, evaluation) opens one run. Its parameters are the
flattened params, its datasets carry the digests of dvc.lock, its tags the git commit.
Metrics are queued and written by a background thread, so that the training loop never waits; at the end of the
run each batch is accounted for, and a metric that the store refused is named in a line and in the run's tags.
`LLM_CORE_TRACKING=off` switches tracking off; every call then does nothing.
"""

import math
import numbers
import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from llm_core.runtime import progress, timings
from llm_core.runtime.digests import content_digest
from llm_core.runtime.redaction import redact
from llm_core.tracking.dvc_context import baseline, context_tags
from llm_core.tracking.store import Names, artifacts_folder, enabled, has_store, relocate, tracking_uri

EXPERIMENT = "llm-pipeline"
PARAM_LENGTH = 6000  # MLflow's limit on a parameter's value
TAG_LENGTH = 5000  # and on a tag's
BATCH = 500  # entries written in one transaction
PENDING = 64  # batches that may wait for the background thread
LOST = "metrics_not_recorded"  # tag that names what the store refused


def client() -> Any:
    """MLflow's client of the store, whose own file names this project's folder. The only place that sets one up."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    relocate()
    mlflow.set_tracking_uri(tracking_uri())
    return mlflow.MlflowClient()


class Run:
    """One run in the tracking store; a silent one where tracking is off."""

    def __init__(self, client: Any, run_id: str, experiment_id: str) -> None:
        self._client, self.run_id, self.experiment_id = client, run_id, experiment_id
        self._names = {kind: Names() for kind in ("param", "metric", "tag")}
        self._step = 0
        self._logged: dict[str, tuple[int, float]] = {}
        self._pending: deque[tuple[list[Any], Any]] = deque()
        self._lost: dict[str, str] = {}

    def params(self, params: Mapping[str, Any]) -> None:
        """Log flattened params."""
        if self._client:
            from mlflow.entities import Param

            name = self._names["param"]
            entries = [Param(name(key), redact(str(value))[:PARAM_LENGTH]) for key, value in params.items()]
            for start in range(0, len(entries), 100):
                self._client.log_batch(self.run_id, params=entries[start : start + 100])

    def metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Queue the numbers among `metrics` at a step; returns at once.

        Without `step` they are figures of the whole run and belong to its newest step, so that a curve never gets a
        point with the final value at its beginning. A value that the name already has at that step is not repeated.
        """
        if not self._client:
            return
        from mlflow.entities import Metric

        self._step = self._step if step is None else max(self._step, step)
        place, now = (self._step if step is None else step), int(time.time() * 1000)
        entries = []
        for key, value in metrics.items():
            if isinstance(value, bool) or not isinstance(value, numbers.Real):
                continue
            name, number = self._names["metric"](key), float(value)
            if math.isinf(number):  # MLflow would show the largest float
                self._lost[name] = f"{number} is no number that the store can show"
            elif self._logged.get(name) != (place, number):
                self._logged[name] = place, number
                entries.append(Metric(name, number, now, place))
        for start in range(0, len(entries), BATCH):
            batch = entries[start : start + BATCH]
            self._pending.append((batch, self._client.log_batch(self.run_id, metrics=batch, synchronous=False)))
        while len(self._pending) > PENDING:
            self._settle(*self._pending.popleft())

    def finish(self) -> None:
        """Wait for the queued metrics; write those of a failed batch one by one, and name what the store refuses."""
        while self._pending:
            self._settle(*self._pending.popleft())
        if self._lost:
            told = "; ".join(f"{name}: {reason}" for name, reason in self._lost.items())
            progress.log(f"tracking: {len(self._lost)} metric(s) not recorded in run {self.run_id}: {told[:500]}")
            self.tags({LOST: ", ".join(self._lost)})

    def _settle(self, batch: list[Any], operation: Any) -> None:
        from mlflow.exceptions import MlflowException

        try:
            operation.wait()
        except MlflowException:
            for entry in batch:
                try:
                    self._client.log_batch(self.run_id, metrics=[entry])
                except MlflowException as error:
                    self._lost[entry.key] = str(error).splitlines()[0]

    def tags(self, tags: Mapping[str, str]) -> None:
        """Set tags."""
        for key, value in tags.items() if self._client else ():
            self._client.set_tag(self.run_id, self._names["tag"](key), redact(str(value))[:TAG_LENGTH])

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
    store = client()
    experiment_id = _experiment(store)
    belongs = context_tags()
    label = belongs["dvc.stage"] if "@" in belongs.get("dvc.stage", "") else name
    label = " ".join([label, belongs.get("dvc.experiment", "")]).strip()
    context = {"mlflow.runName": label, "stage": name, **git_tags(), **belongs, **(tags or {})}
    started_from = baseline()
    if started_from:
        context["mlflow.parentRunId"] = _parent(store, experiment_id, started_from)
    current = _resumed(store, resume, experiment_id)
    if current is None:
        name_of = Names()
        tagged = {name_of(key): str(value)[:TAG_LENGTH] for key, value in context.items()}
        created = store.create_run(experiment_id, run_name=label, tags=tagged)
        current = Run(store, created.info.run_id, experiment_id)
        current.params(params)
    link = {"mlflow_run_id": current.run_id, "mlflow_experiment_id": experiment_id}
    progress.report(link)
    timings.NOTES.update(link)
    status = "FAILED"
    with _stoppable():
        try:
            yield current
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            current.finish()
            store.set_terminated(current.run_id, status)


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
    folder = artifacts_folder()
    place = (folder / name).as_uri() if folder else None
    return str(client.create_experiment(name, artifact_location=place))


def _parent(client: Any, experiment_id: str, commit: str) -> str:
    """The run above all DVC experiments on one commit; the first of them makes it."""
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


def last_metrics(stage: str) -> dict[str, float]:
    """Every metric of the newest finished run whose stage begins so; {} without one (or with tracking off)."""
    if not has_store():
        return {}
    store = client()
    experiment = store.get_experiment_by_name(os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT))
    name = re.sub(r"[^\w-]", "", stage)  # it becomes part of a query
    wanted = f"tags.stage LIKE '{name}%' AND attributes.status = 'FINISHED'"
    runs = store.search_runs([experiment.experiment_id], wanted, max_results=1) if experiment and name else []
    return dict(runs[0].data.metrics) if runs else {}


def trace(name: str, inputs: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], outputs: Mapping[str, Any]) -> None:
    """Keep what an agent did as an MLflow trace: a root span, and one for each of `steps` (tool, input, output)."""
    if not enabled():
        return
    import mlflow

    mlflow.set_experiment(experiment_id=_experiment(client()))
    with mlflow.start_span(name, span_type="AGENT") as root:
        root.set_inputs(dict(inputs))
        for step in steps:
            with mlflow.start_span(str(step["tool"]), span_type="TOOL") as span:
                span.set_inputs(step["input"])
                span.set_outputs(step["output"])
        root.set_outputs(dict(outputs))
    mlflow.flush_trace_async_logging()
