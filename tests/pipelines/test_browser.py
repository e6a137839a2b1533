"""Headless Chromium on `make ui`: materialize, watch the log, cancel, a blocked stage, MLflow, launchpad, compare, all.

SCREENSHOTS=folder keeps a picture of each step.
"""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from pipelines.dvc_project import DvcProject
from pipelines.ui import comparison
from tests.pipelines import toy_project as toy
from tests.pipelines.browser import chromium, shoot
from tests.pipelines.browser_project import extend
from tests.pipelines.live import ENDED, Live, serve
from tests.waiting import wait

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def live(page: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = extend(toy.create(tmp_path_factory.mktemp("browser") / "project"))
    toy.repro(folder, "join")
    with serve(folder) as servers:
        yield servers


def press(page: Any, live: Live, address: str, text: str) -> str:
    """Press a button of a page; the id of the run that it started.

    While definitions load, a page may come without them and stay so: it is opened again.
    """
    before = run_ids(live)

    def pressed() -> bool:
        page.goto(f"{live.dagster}/{address}")
        try:
            page.locator("button:enabled", has_text=re.compile(f"^{text}", re.IGNORECASE)).first.click(timeout=40_000)
        except page.timeout_error:
            return False
        return True

    wait(pressed, 600, f"an enabled button {text!r}")
    return str(wait(lambda: run_ids(live) - before, what="the run").pop())


def ended(live: Live, run: str) -> None:
    """Wait for the end of a run; an AssertionError with its last events where that is no success."""
    wait(lambda: live.run(run)["status"] in ENDED, 600, "the run")
    assert live.run(run)["status"] == "SUCCESS", live.log(run)[-5:]


def run_ids(live: Live) -> set[str]:
    return {run["runId"] for run in live.query("{runsOrError{... on Runs{results{runId}}}}")["runsOrError"]["results"]}


def test_graph_shows_the_shell_run_fresh(page: Any, live: Live) -> None:
    page.goto(f"{live.dagster}/assets/join")
    page.get_by_text("mirrored from").first.wait_for()
    page.get_by_text("dvc.lock (the stage ran outside Dagster)").first.wait_for()
    assert live.statuses()["join"] == "FRESH"


def test_materialize_streams_its_log_and_cancel_stops_it(page: Any, live: Live) -> None:
    run = press(page, live, "assets/slow", "Materialize")
    page.goto(f"{live.dagster}/runs/{run}")
    page.get_by_text("step 2", exact=True).first.wait_for()
    assert live.run(run)["status"] == "STARTED", "the line was there while the stage ran"
    shoot(page, "dagster-log")
    page.locator("button", has_text="Terminate").first.click()
    page.locator("[role=dialog] button, .bp5-dialog button, .bp4-dialog button", has_text="Terminate").last.click()
    wait(lambda: live.run(run)["status"] == "CANCELED", what="the cancel")
    page.goto(f"{live.dagster}/runs/{run}")
    page.get_by_text("Canceled").first.wait_for()
    shoot(page, "dagster-cancelled")


def test_failed_blocking_check_stops_what_is_below(page: Any, live: Live) -> None:
    run = live.launch("download", "clean")
    wait(lambda: live.run(run)["status"] == "FAILURE", what="the check")
    page.goto(f"{live.dagster}/assets/download?view=checks&checkDetail=licence_present")
    page.get_by_text("7 of 7 documents name no licence").first.wait_for()
    shoot(page, "dagster-check")
    assert live.statuses()["clean"] == "MISSING", "it never ran"


def test_linked_mlflow_run(page: Any, live: Live) -> None:
    ended(live, press(page, live, "assets/pretrain", "Materialize"))
    page.goto(f"{live.dagster}/assets/pretrain")
    link = page.get_by_role("link", name=live.mlflow).first
    link.wait_for()
    shoot(page, "dagster-metadata")
    page.goto(link.get_attribute("href"))
    page.get_by_text("pretrain").first.wait_for()
    page.get_by_text("loss").first.wait_for()
    shoot(page, "mlflow-run")


def test_launchpad_and_comparison_in_mlflow(page: Any, live: Live) -> None:
    import mlflow

    config = "ops: {dvc_exp_run: {config: {params: {title: game}, targets: [pretrain], name: game}}}"
    setup = f"locations/llm-pipeline/jobs/experiment/playground/setup?config={quote(config)}"
    ended(live, press(page, live, setup, "Launch run"))

    client = mlflow.MlflowClient(f"sqlite:///{live.project / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("llm-pipeline").experiment_id
    trainings = client.search_runs([experiment], "tags.stage = 'pretrain'", order_by=["attributes.start_time"])
    assert [training.data.tags.get("changed.title") for training in trainings] == [None, "game"]
    assert [training.info.run_name for training in trainings] == ["pretrain", "pretrain game title=game"]
    page.goto(comparison(live.mlflow))
    page.get_by_text("Comparing 2 Runs").first.wait_for()
    page.get_by_text("loss", exact=True).first.wait_for()
    page.get_by_label("Parameters - Show diff only").click()  # the only click from the address that `make ui` prints
    page.get_by_role("rowheader", name="title", exact=True).wait_for()
    assert page.get_by_role("rowheader", name="steps", exact=True).count() == 0
    shoot(page, "mlflow-compare")


def test_materialize_all(page: Any, live: Live) -> None:
    toy.edit(live.project, "code/crawl.py", '"text": "some words"', '"text": "some words", "license": "public domain"')
    toy.edit(live.project, "params.yaml", "steps: 1000", "steps: 0")
    ended(live, press(page, live, "asset-groups", "Materialize all"))
    wait(lambda: set(live.statuses().values()) == {"FRESH"}, what="a fresh graph")
    with DvcProject(live.project) as project:
        assert all(project.fresh(name) for name in project.stages)
