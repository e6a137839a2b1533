"""Runs in the tracking store.

A stage worth comparing (training, evaluation) opens one run. Its parameters are the
flattened params, its datasets carry the digests of dvc.lock, its tags the git commit.
Metrics are queued and written by a background thread, so that the training loop never waits; at the end of the
run each batch is accounted for, and a metric that the store refused is named in a line and in the run's tags.
`LLM_CORE_TRACKING=off` switches tracking off; every call then does nothing.
"""

import html
import math
import numbers
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

from llm_core.runtime import progress, timings
from llm_core.runtime.digests import content_digest
from llm_core.runtime.redaction import redact
from llm_core.tracking import dataset_cards
from llm_core.tracking.dvc_context import baseline, context_tags
from llm_core.tracking.experiments import EXPERIMENT, NOTE, Kind, experiment
from llm_core.tracking.store import Names, enabled, has_store, relocate, tracking_uri

__all__ = ["EXPERIMENT", "Run", "client", "has_store", "run", "tracking_uri"]
PARAM_LENGTH = 6000  # MLflow's limit on a parameter's value
TAG_LENGTH = 5000  # and on a tag's
BATCH = 500  # entries written in one transaction
PENDING = 64  # batches that may wait for the background thread
LOST = "metrics_not_recorded"  # tag that names what the store refused
TABLE_STYLE = (
    "<style>body{font:14px sans-serif;margin:1em}td,th{text-align:left;vertical-align:top;padding:.4em;"
    "border-bottom:1px solid #ccc;white-space:pre-wrap;overflow-wrap:anywhere;min-width:4em;max-width:30em}</style>"
)
NAMED = 3  # number of changed params in a run's name


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

    def dataset(self, path: str | Path, context: str, digest: str = "") -> None:
        """Name an input or output folder by its digest, the one that dvc.lock has for it; computed if not given."""
        if self._client:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            digest = digest or content_digest(Path(path))
            dataset = Dataset(name=str(path), digest=digest, source_type="local", source=str(Path(path).resolve()))
            tag = InputTag("mlflow.data.context", context)
            self._client.log_inputs(self.run_id, datasets=[DatasetInput(dataset, [tag])])

    def page(self, file: Path) -> None:
        """Keep a page among the run's artifacts, and report it, so that Dagster links to it by its name."""
        self.artifact(file)
        if self._client:
            note({"mlflow_page": file.name})

    def table(self, rows: Sequence[Mapping[str, Any]], file: str) -> None:
        """Keep rows as a page among the run's artifacts, which MLflow displays; nothing where there are none."""
        if self._client and rows:
            names = list(dict.fromkeys(name for row in rows for name in row))
            cells = [[html.escape(redact(str(row.get(name, "")))) for name in names] for row in rows]
            body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in cells)
            head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in names)
            page = f"<!doctype html><meta charset=utf-8>{TABLE_STYLE}<table><tr>{head}</tr>{body}</table>"
            self._client.log_text(self.run_id, page, file)

    def describe(self, text: str) -> None:
        """Set the run's description, as Markdown."""
        self.tags({NOTE: text})

    def model(self, folder: str | Path, digest: str = "", name: str = "model") -> str | None:
        """Log a folder in Hugging Face layout as a model that `mlflow.pyfunc.load_model(…).predict(texts)` runs.

        The script that is logged with it, serving/mlflow_model.py, finds out what kind of model it is. The folder
        itself is the artifact, so transformers loads it from the run, too. It is not registered here. `digest`, the
        folder's where none is given, is its tag `model_digest`, by which `lookup.logged_model` finds it. Returns the
        model's id.
        """
        if self._client:
            import mlflow
            from mlflow.models import infer_signature, set_signature

            code = Path(__file__).parents[1] / "serving" / "mlflow_model.py"
            mlflow.set_experiment(experiment_id=self.experiment_id)  # a trace of this process may have set another
            with mlflow.start_run(run_id=self.run_id, log_system_metrics=False):
                logged = mlflow.pyfunc.log_model(
                    name=name,
                    python_model=str(code),
                    artifacts={"model": str(folder)},
                    pip_requirements=["torch", "transformers"],
                    tags={"model_digest": digest or content_digest(Path(folder))},
                )
            signature = logged.signature  # of the type hints, which say nothing of params
            signature.params = infer_signature(["In the beginning"], params={"max_new_tokens": 20}).params
            set_signature(f"models:/{logged.model_id}", signature)
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
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    resume: str | None = None,
    kind: Kind = "training",
    about: str = "",
    started: float | None = None,
) -> Iterator[Run]:
    """Open a run; it ends FINISHED, FAILED or KILLED as the block does. `resume`: the id of a run to go on with.

    Its name: its stage (`evaluate@base`) or else `name`, then `about`, the DVC experiment, and the params that differ
    from the commit where that experiment started, or else from the last finished run of the stage. `started`, as of
    time.time(), is when the work began, where the run is opened at its end. A training has the computer's load, too.
    """
    if not enabled():
        # The launcher waits for its first process, which ends as asked; the others end at once, as a signal does.
        with _stoppable() if os.environ.get("RANK", "0") == "0" else nullcontext():
            yield Run(None, "", "")
        return
    store = client()
    experiment_id = experiment(store, kind)
    belongs = context_tags()
    label = belongs["dvc.stage"] if "@" in belongs.get("dvc.stage", "") else name
    context = {"stage": name, "label": label, **git_tags(), **belongs, **(tags or {})}
    started_from = baseline()
    if started_from:
        context["mlflow.parentRunId"] = _parent(store, experiment_id, started_from)
    current = _resumed(store, resume, experiment_id)
    if current is None:
        changes = _changes(store, experiment_id, label, belongs, params)
        experiment_name = belongs.get("dvc.experiment", "")
        shown = " ".join(part for part in (label, about, experiment_name, _shown(changes, experiment_name)) if part)
        name_of = Names()
        tagged = {name_of(key): str(value)[:TAG_LENGTH] for key, value in context.items()}
        began = None if started is None else int(started * 1000)
        created = store.create_run(experiment_id, start_time=began, run_name=shown[:250], tags=tagged)
        current = Run(store, created.info.run_id, experiment_id)
        current.params(params)
    link = {"mlflow_run_id": current.run_id, "mlflow_experiment_id": experiment_id}
    note(link)
    status = "FAILED"
    with _stoppable(), _load_recorded(current.run_id, bool(resume)) if kind == "training" else nullcontext():
        try:
            yield current
            status = "FINISHED"
            _link_card(store, current.run_id)
        except KeyboardInterrupt:
            status = "KILLED"
            raise
        finally:
            current.finish()
            store.set_terminated(current.run_id, status)


def _link_card(store: Any, run_id: str) -> None:
    """Link a run to the card of its tokens. The work is done: a store that cannot be asked now does not undo it."""
    from mlflow.exceptions import MlflowException

    try:
        dataset_cards.link_own(store, run_id)
    except MlflowException as error:
        progress.log(f"tracking: run {run_id} has no link to a dataset card: {str(error).splitlines()[0]}")


def note(values: dict[str, Any]) -> None:
    """Report values to whatever runs the stage, and keep them with its time for who asks later."""
    progress.report(values)
    timings.NOTES.update(values)


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


@contextmanager
def _load_recorded(run_id: str, resumed: bool) -> Iterator[None]:
    """Record processors, memory, disk, network and GPUs each ten seconds as MLflow's system metrics."""
    if find_spec("psutil") is None:
        yield
        return
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run_id, resume_logging=resumed)
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()


def _changes(
    store: Any, experiment_id: str, label: str, belongs: Mapping[str, str], params: Mapping[str, Any]
) -> dict[str, str]:
    """The run's params that differ from the DVC experiment's commit, else from the last finished run of the stage."""
    cleaned = {key: redact(str(value))[:PARAM_LENGTH] for key, value in params.items()}
    changed = {key.removeprefix("changed."): value for key, value in belongs.items() if key.startswith("changed.")}
    if belongs.get("dvc.experiment"):
        return {key: value for key, value in cleaned.items() if key in changed}
    if "'" in label:  # it becomes part of a query
        return {}
    wanted = f"tags.label = '{label}' AND attributes.status = 'FINISHED'"
    before = store.search_runs([experiment_id], wanted, max_results=1, order_by=["attributes.start_time DESC"])
    if not before:
        return {}
    names, old = Names(), before[0].data.params
    return {key: value for key, value in cleaned.items() if old.get(names(key), value) != value}


def _shown(changes: Mapping[str, str], experiment: str) -> str:
    """Changed params in a run's name: `learning_rate=0.001 steps=400`. Left out is what the experiment's name says:
    in muon-0.03 a change of `muon_learning_rate` to 0.03."""
    named = [(key.rpartition(".")[2], value) for key, value in changes.items()]
    said = set(experiment.split("-"))
    new = [f"{key}={value[:20]}" for key, value in named if value not in said or said.isdisjoint(key.split("_"))]
    return " ".join([*new[:NAMED], *([f"+{len(new) - NAMED}"] if len(new) > NAMED else [])])


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
