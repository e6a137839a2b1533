"""Backfills of a study and of crawls as a person launches them, in headless Chromium on `make ui`."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.dvc_project import DvcProject
from tests.pipelines import toy_project as toy
from tests.pipelines.browser import chromium, shoot
from tests.pipelines.live import Live, serve
from tests.pipelines.test_snapshot import DOWNLOAD, GROWING
from tests.waiting import wait

BACKFILLS = "{partitionBackfillsOrError{... on PartitionBackfills{results{status numPartitions}}}}"
ITEMS = ("experiments/side/dvc.yaml:sorted@a", "experiments/side/dvc.yaml:sorted@b")


@pytest.mark.slow
@pytest.mark.long  # CI backfills crawls below, and test_experiment_graphs.py holds that a study's items are partitions
def test_a_study_is_backfilled_from_its_page(experiment: Path) -> None:
    toy.edit(experiment, "params.yaml", "title: toy", "title: game")
    with DvcProject(experiment) as project:
        assert not any(project.fresh(name) for name in ITEMS)
    with chromium() as page, serve(experiment) as live:
        address = f"{live.dagster}/locations/llm-pipeline/jobs/study_side_sorted/partitions"
        page.goto(address)
        backfill(page, live, "Launch backfill", "All", "Submit")
        page.goto(address)
        page.get_by_text("Total partitions").wait_for()
        shoot(page, "dagster-backfill")
    with DvcProject(experiment) as project:
        assert all(project.fresh(name) for name in ITEMS)


@pytest.mark.slow
def test_crawls_are_backfilled_from_the_page_of_their_asset(project: Path) -> None:
    """Two crawls that params.yaml lists and nobody has fetched: *Materialize*, *Missing*, *Launch backfill*."""
    with open(project / "dvc.yaml", "a") as stream:
        stream.write(
            DOWNLOAD.replace("deps: [code/fetch.py]", 'deps: [code/fetch.py]\n      params: ["sources.${key}"]')
        )
    (project / "code/fetch.py").write_text(GROWING)
    crawls = ["CC-MAIN-2026-40", "CC-MAIN-2026-44"]
    listed = f"words: 12, kind: common_crawl, index: 'http://127.0.0.1:9', crawl: [{', '.join(crawls)}]"
    toy.edit(project, "params.yaml", "a: {words: 12}", f"a: {{{listed}}}")
    with chromium() as page, serve(project) as live:
        wait(lambda: partitions(live) == crawls, 300, "the sensor's first tick")
        page.goto(f"{live.dagster}/assets/crawls_a")
        backfill(page, live, "Materialize", "Missing", "Launch backfill")
        shoot(page, "dagster-crawls")
    assert (project / "data/fetched/a/words.txt").read_text().split() == crawls


def backfill(page: Any, live: Live, begin: str, which: str, launch: str) -> None:
    """Click the page's button `begin`, and in its dialog `which` partitions and `launch`; wait for both of them."""
    page.locator("button:enabled", has_text=begin).first.click()
    dialog = page.locator("[role=dialog]")
    dialog.get_by_role("button", name=which, exact=True).click()
    dialog.locator("button:enabled", has_text=launch).click()
    wait(lambda: backfills(live) == [("COMPLETED_SUCCESS", 2)], 600, "the backfill")


def backfills(live: Live) -> list[tuple[str, int]]:
    """State and number of partitions of each backfill."""
    found = live.query(BACKFILLS)["partitionBackfillsOrError"]["results"]
    return [(one["status"], one["numPartitions"]) for one in found]


def partitions(live: Live) -> list[Any]:
    """The partitions of the asset `crawls_a`."""
    text = """{assetNodeOrError(assetKey: {path: ["crawls_a"]}){... on AssetNode{partitionKeys}}}"""
    return list(live.query(text)["assetNodeOrError"]["partitionKeys"])
