"""The pictures of docs/images, taken anew: `python -m tests.pipelines.pictures PROJECT [TAKE …]`.

PROJECT is a copy of a project after `make run`; this starts its servers, edits its params.yaml, cancels a training and
runs two short ones. TAKE is one of the functions below, by default all. Needs Chromium.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from pipelines.ui import comparison
from tests.pipelines.browser import chromium, shoot
from tests.pipelines.live import ENDED, Live, serve
from tests.pipelines.tour import open_page
from tests.waiting import wait

IMAGES = Path(__file__).parents[2] / "docs/images"
STEPS = 60
RATES = (0.01, 0.03)


def main(project: Path, takes: list[str]) -> None:
    """Take the pictures of a project."""
    os.environ["SCREENSHOTS"] = str(IMAGES)
    with serve(project) as live, chromium() as page:
        page.set_viewport_size({"width": 1440, "height": 900})
        wait(lambda: live.statuses().get("report") in ("FRESH", "STALE"), 900, "the sensor's first tick")
        for take in TAKES:
            if not takes or take.__name__ in takes:
                take(page, live)


def graph(page: Any, live: Live) -> None:
    """dagster-graph: the groups of the whole graph."""
    page.goto(f"{live.dagster}/asset-groups")
    page.get_by_text("finetuning", exact=True).last.wait_for()
    shoot(page, "dagster-graph")


def check(page: Any, live: Live) -> None:
    """dagster-check: a blocking check that fails, because it asks for too much."""
    with edited(live.project, lambda params: params["checks"].update(contamination_max=0.001)):
        run = live.launch("decontaminate", "split")
        wait(lambda: live.run(run)["status"] in ENDED, 300, "the check")
        address = f"{live.dagster}/assets/decontaminate?view=checks&checkDetail=contamination"
        open_page(page, address, "more than checks.contamination_max")
        shoot(page, "dagster-check")


def training(page: Any, live: Live) -> None:
    """dagster-log and dagster-cancelled: a training, and the same when it was cancelled after its first checkpoint."""
    with edited(live.project, lambda params: params["pretraining"].update(checkpoint_every=5)):
        run = live.launch("pretrain")
        page.goto(f"{live.dagster}/runs/{run}")
        wait(lambda: len(progress(live, run)) > 4, 300, "lines of progress")
        shoot(page, "dagster-log")
        live.cancel(run)
        wait(lambda: live.run(run)["status"] == "CANCELED", 60, "the cancel")
        page.goto(f"{live.dagster}/runs/{run}?levels=info")
        page.get_by_text("every process of the stage has ended").first.wait_for()
        shoot(page, "dagster-cancelled")


def progress(live: Live, run: str) -> list[str]:
    """The lines of a run's log that name a loss."""
    return [line for line in live.log(run) if ", loss " in line]


def comparisons(page: Any, live: Live) -> None:
    """mlflow-compare and mlflow-differences: two short trainings with other learning rates, as DVC's experiments."""
    for rate in RATES:
        changes = [f"pretraining.steps={STEPS}", f"pretraining.optimizer.muon_learning_rate={rate}"]
        overrides = [word for change in changes for word in ("-S", change)]
        command = ["dvc", "exp", "run", "--temp", "--name", f"muon-{rate}", *overrides, "pretrain"]
        subprocess.run([sys.executable, "-m", *command], cwd=live.project, env=variables(live.project), check=True)
    page.goto(comparison(live.mlflow))
    page.get_by_label("Parameters - Show diff only").click()
    page.get_by_role("rowheader", name="pretraining.optimizer.muon_learning_rate", exact=True).wait_for()
    without_assistant(page)
    shoot(page, "mlflow-differences")
    page.get_by_role("link", name="loss", exact=True).click()
    page.get_by_text("Line Smoothness").wait_for()
    shoot(page, "mlflow-compare")


def version(page: Any, live: Live) -> None:
    """mlflow-version: the base model's version, with its scores and what it links to."""
    page.goto(f"{live.mlflow}/#/models/language-model-base/versions/1")
    page.get_by_role("link", name="dataset card").wait_for()
    without_assistant(page)
    shoot(page, "mlflow-version")


TAKES = (graph, version, check, training, comparisons)


def without_assistant(page: Any) -> None:
    """Close MLflow's panel beside the page where it is open."""
    close = page.get_by_role("button", name="Close")
    for number in range(close.count()):
        close.nth(number).click()


def variables(project: Path) -> dict[str, str]:
    """The environment of a command in the project, whose runs go to its own store."""
    return {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{project}/mlflow.db"}


@contextmanager
def edited(project: Path, change: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """The project's params with a change, and as they were again at the end."""
    file = project / "params.yaml"
    before = file.read_text()
    params = yaml.safe_load(before)
    params.setdefault("checks", {})
    change(params)
    file.write_text(json.dumps(params))  # JSON is YAML
    try:
        yield
    finally:
        file.write_text(before)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), sys.argv[2:])
