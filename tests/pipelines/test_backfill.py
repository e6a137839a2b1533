"""A backfill of a study as a person launches it, in headless Chromium on `make ui`: its page, *All*, *Submit*."""

from pathlib import Path

import pytest

from pipelines.dvc_project import DvcProject
from tests.pipelines import toy_project as toy
from tests.pipelines.browser import chromium, shoot
from tests.pipelines.live import serve
from tests.waiting import wait

BACKFILLS = "{partitionBackfillsOrError{... on PartitionBackfills{results{status numPartitions}}}}"
ITEMS = ("experiments/side/dvc.yaml:sorted@a", "experiments/side/dvc.yaml:sorted@b")


@pytest.mark.slow
def test_a_study_is_backfilled_from_its_page(experiment: Path) -> None:
    toy.edit(experiment, "params.yaml", "title: toy", "title: game")
    with DvcProject(experiment) as project:
        assert not any(project.fresh(name) for name in ITEMS)
    with chromium() as page, serve(experiment) as live:
        page.goto(f"{live.dagster}/locations/llm-pipeline/jobs/study_side_sorted/partitions")
        page.locator("button:enabled", has_text="Launch backfill").first.click()
        dialog = page.locator("[role=dialog]")
        dialog.get_by_role("button", name="All", exact=True).click()
        dialog.locator("button:enabled", has_text="Submit").click()

        def ended() -> bool:
            found = live.query(BACKFILLS)["partitionBackfillsOrError"]["results"]
            return [(one["status"], one["numPartitions"]) for one in found] == [("COMPLETED_SUCCESS", 2)]

        wait(ended, 600, "the backfill")
        page.goto(f"{live.dagster}/locations/llm-pipeline/jobs/study_side_sorted/partitions")
        page.get_by_text("Total partitions").wait_for()
        shoot(page, "dagster-backfill")
    with DvcProject(experiment) as project:
        assert all(project.fresh(name) for name in ITEMS)
