"""A walk through every page of a project that has run: Dagster, MLflow, the report. Names whole, links open."""

import json
import re
from collections.abc import Callable
from typing import Any

from pipelines.ui import training_runs
from tests.pipelines.live import Live
from tests.waiting import wait

ASSETS = """{assetNodes{assetKey{path} groupName metadataEntries{label ... on TextMetadataEntry{text}}
assetChecksOrError{... on AssetChecks{checks{name executionForLatestMaterialization{status}}}}}}"""
QUESTIONS = ("What it can do", "Better than the last?", "What it cannot do", "Its data", "What was dropped")


def walk(page: Any, live: Live, shoot: Callable[[str], None]) -> None:
    """Look at each page of the live servers; an AssertionError names what is cut off, raw, missing or broken."""
    page.set_viewport_size({"width": 1440, "height": 900})
    wait(lambda: live.statuses().get("report") == "FRESH", 300, "the sensor's first tick")
    dagster(page, live, shoot)
    mlflow(page, live, shoot)
    report(page, live, shoot)


def dagster(page: Any, live: Live, shoot: Callable[[str], None]) -> None:
    """The graph, an asset with its figures and its MLflow run, its checks, and the lists of jobs, runs, automation."""
    nodes = live.query(ASSETS)["assetNodes"]
    page.goto(f"{live.dagster}/asset-groups")
    for group in sorted({node["groupName"] for node in nodes}):
        name = page.get_by_text(group, exact=True).last  # the last is in the graph, the others in the list beside it
        name.wait_for()
        box = name.bounding_box()
        assert box and box["x"] + box["width"] <= 1440, f"{group} is outside the page"
        assert name.evaluate("e => e.scrollWidth <= e.clientWidth + 1"), f"{group} is cut off"
    assert "…" not in page.inner_text("body")
    shoot("dagster-graph")

    wait(lambda: not unevaluated(live), 120, "the checks of stages that ran in a shell")
    figures = json.loads((live.project / "data/models/base/metrics.json").read_text())
    open_page(page, f"{live.dagster}/assets/pretrain", "held-out text, bits per byte")
    shown = page.inner_text("body")
    assert not [key for key in figures if "_" in key and key in shown], "a raw key of metrics.json"
    shoot("dagster-asset")
    link = page.get_by_role("link", name=live.mlflow).first
    link.wait_for()
    page.goto(link.get_attribute("href"))
    page.get_by_text("million parameters").first.wait_for()
    shoot("mlflow-run")

    checks = f"{live.dagster}/assets/pretrain?view=checks&checkDetail=loss"
    open_page(page, checks, "Maximum excess of a model's held-out loss")
    assert "Not evaluated" not in page.inner_text("body")
    for address, text in (("jobs", "whole_graph"), ("runs", "Runs"), ("automation", "weekly")):
        page.goto(f"{live.dagster}/{address}")
        page.get_by_text(text).first.wait_for()


def open_page(page: Any, address: str, text: str) -> None:
    """Open a page of Dagster that shows a text; a page that came while definitions loaded stays without them."""

    def opened() -> bool:
        page.goto(address)
        try:
            page.get_by_text(text).first.wait_for(timeout=40_000)
        except page.timeout_error:
            return False
        return True

    wait(opened, 300, f"{text!r} on {address}")


def unevaluated(live: Live) -> list[str]:
    """Checks of the default graph's assets that have no result for the last materialization."""
    return [
        f"{node['assetKey']['path'][-1]}: {check['name']}"
        for node in live.query(ASSETS)["assetNodes"]
        for check in node["assetChecksOrError"].get("checks", [])
        if len(node["assetKey"]["path"]) == 1 and check["executionForLatestMaterialization"] is None
    ]


def mlflow(page: Any, live: Live, shoot: Callable[[str], None]) -> None:
    """The trainings, and a version in the registry with its description, whose links open."""
    page.goto(training_runs(live.mlflow))
    page.get_by_text("pretrain-llama").first.wait_for()
    shoot("mlflow-runs")
    page.goto(f"{live.mlflow}/#/models/language-model-base/versions/1")
    page.get_by_text("Gate passed").first.wait_for()
    shoot("mlflow-version")
    links = {
        link.inner_text(): link.get_attribute("href") for link in page.locator("a[target=_blank][href^='#/']").all()
    }
    named = [name for name in links if re.match(r"(pretrain-llama|evaluate@base|register@base)", name)]
    assert len(named) == 3, links
    for name in named:
        page.goto("about:blank")
        page.goto(f"{live.mlflow}/{links[name]}")
        page.get_by_text(name).first.wait_for()
        page.get_by_text("Duration").first.wait_for()


def report(page: Any, live: Live, shoot: Callable[[str], None]) -> None:
    """The report: five answers, no raw key, nothing wider than the page, contents that lead somewhere."""
    page.goto((live.project / "data/report/report.html").as_uri())
    shown = page.inner_text("body")
    assert [question for question in QUESTIONS if question in shown] == list(QUESTIONS)
    keys = {key for name in ("models/base", "dedup", "split") for key in _keys(live, name)}
    assert not [key for key in keys if "_" in key and re.search(rf"\b{key}\b", shown)], "a raw key of metrics.json"
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440
    targets = page.eval_on_selector_all(
        "a[href^='#']", "links => links.map(link => link.getAttribute('href').slice(1))"
    )
    assert targets and not [name for name in targets if page.locator(f"[id='{name}']").count() == 0]
    shoot("report")


def _keys(live: Live, name: str) -> list[str]:
    return list(json.loads((live.project / "data" / name / "metrics.json").read_text()))
