"""A walk through every page of a project that has run: Dagster, MLflow, the report. Names whole, links open."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipelines.graph import EXPERIMENTS
from pipelines.ui import training_runs
from tests.pipelines.live import Live
from tests.waiting import wait

ASSETS = """{assetNodes{assetKey{path} groupName metadataEntries{label ... on TextMetadataEntry{text}}
assetChecksOrError{... on AssetChecks{checks{name executionForLatestMaterialization{status}}}}}}"""
SHOWN = """{assetNodes{assetKey{path} assetMaterializations(limit: 1){metadataEntries{label
... on MarkdownMetadataEntry{mdStr} ... on UrlMetadataEntry{url} ... on PathMetadataEntry{path}}}}}"""
FLOW = ("sources", "documents", "tokens", "models", "evaluation")  # groups of the default graph, along the data
READABLE_PIXELS = 9
SHOWN_TEXT = """e => {
    const box = e.getBoundingClientRect(), node = e.closest('foreignObject')
    const inside = [[box.left, box.top], [box.right, box.top], [box.left, box.bottom], [box.right, box.bottom]].every(
        ([x, y]) => document.elementFromPoint(x, y)?.closest('foreignObject') === node)
    const whole = e.scrollWidth <= e.clientWidth + 1
    return [box.left, inside && whole, parseFloat(getComputedStyle(e).fontSize) * box.height / e.offsetHeight]
}"""  # left, whether nothing covers or cuts it, the letters' size
OF_DATA = ("samples of dropped documents", "why it ran")  # entries that quote documents, or names of params
ANSWERS = {  # what each answer of the first screen must hold, beside the numbers that are read from the files
    "What it can do": r"base needs [\d.]+ (\([\d.]+ to [\d.]+\) )?bits for each byte of held-out text \(xz -9 [\d.]+",
    "Better than the last?": r"no champion before base|base against version \d+.*% intervals",
    "What it cannot do": r"not distinguishable from chance.*Nothing is known about other texts",
    "Its data": r"documents \([\d.,]+ MB\) of \d+ sources; of the training text: \w+ [\d.]+ %.*trained on .* tokens",
    "What was dropped": r"documents \([\d.]+ %\): \d",
}


def walk(page: Any, live: Live, shoot: Callable[[str], None]) -> None:
    """Look at each page of the live servers; an AssertionError names what is cut off, raw, missing or broken."""
    page.set_viewport_size({"width": 1440, "height": 900})
    wait(lambda: live.statuses().get("report") == "FRESH", 300, "the sensor's first tick")
    dagster(page, live, shoot)
    mlflow(page, live, shoot)
    report(page, live, shoot)


def dagster(page: Any, live: Live, shoot: Callable[[str], None]) -> None:
    """The graph, an asset with its figures and its MLflow run, its checks, and the lists of jobs, runs, automation."""
    graph(page, live, shoot)
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
    assert not page.get_by_text("Evaluation runs", exact=True).count(), "a training among traces and judges"
    shoot("mlflow-run")

    checks = f"{live.dagster}/assets/pretrain?view=checks&checkDetail=loss"
    open_page(page, checks, "Maximum excess of a model's held-out loss")
    assert "Not evaluated" not in page.inner_text("body")
    leads_to = {
        "MLflow run": page.get_by_text("Duration"),
        "model version": page.get_by_text("Gate passed"),
        "report": page.frame_locator("iframe").get_by_text("What it can do"),
    }
    found = entries(live)
    assert {label for label, _ in found} == set(leads_to)
    for label, address in sorted(found):
        page.goto("about:blank")
        page.goto(address)
        leads_to[label].first.wait_for()
    for address, text in (("jobs", "whole_graph"), ("runs", "Runs"), ("automation", "weekly")):
        page.goto(f"{live.dagster}/{address}")
        page.get_by_text(text).first.wait_for()


def graph(page: Any, live: Live, shoot: Callable[[str], None]) -> None:
    """The graph's first page has every group whole and readable, the default graph's from left to right along the data;
    the page of each of these groups has the names of its assets whole."""
    assets: dict[str, set[str]] = {}
    for node in live.query(ASSETS)["assetNodes"]:
        assets.setdefault(node["groupName"], set()).add(node["assetKey"]["path"][-1])
    outermost = {name.partition("/")[0] for name in assets}
    assert outermost == {*FLOW, EXPERIMENTS}
    page.goto(f"{live.dagster}/asset-groups")
    left = {name: readable(page, name) for name in sorted(outermost)}
    assert sorted(FLOW, key=left.__getitem__) == list(FLOW) and len({left[name] for name in FLOW}) == len(FLOW)
    assert "…" not in page.inner_text("body")
    shoot("dagster-graph")
    for group in FLOW:
        page.goto(f"{live.dagster}/locations/llm-pipeline/asset-groups/{group}/lineage")
        page.locator("foreignObject").first.wait_for()
        page.wait_for_timeout(1000)  # the first look is scaled when all is there
        drawn = "\n".join(page.locator("foreignObject > *").all_inner_texts())
        assert any(name in drawn.splitlines() for name in assets[group]), drawn
        assert not (cut := re.findall(r"\w+…\w+", drawn)), f"names cut off on the page of {group}: {cut}"


def readable(page: Any, name: str) -> float:
    """Where a name in the graph begins, in pixels from the left; an AssertionError where it is cut or small."""
    shown = page.locator("foreignObject").get_by_text(name, exact=True).last
    shown.wait_for()
    left, uncovered, pixels = shown.evaluate(SHOWN_TEXT)
    assert uncovered, f"{name} is cut off or covered"
    assert pixels >= READABLE_PIXELS, f"{name} is {pixels:.1f} pixels high"
    return float(left)


def entries(live: Live) -> set[tuple[str, str]]:
    """Label and address of each link of the default graph's assets; an AssertionError for a raw key, or a file that is
    not there."""
    links: set[tuple[str, str]] = set()
    for node in live.query(SHOWN)["assetNodes"]:
        name = node["assetKey"]["path"][-1]
        for entry in (entry for made in node["assetMaterializations"] for entry in made["metadataEntries"]):
            label = entry["label"]
            links |= {(label, entry["url"])} if "url" in entry else set()
            assert "path" not in entry or Path(entry["path"]).is_file(), f"{name}: {label} is not there"
            text = "" if label in OF_DATA else entry.get("mdStr", "")
            found = _raw(live, f"{label}\n{text}")
            assert not found, f"{name}, {label}: raw keys of a metrics.json: {found}"
    return links


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
    """The report: five answers on the first screen, no raw key, nothing cut off, contents that lead somewhere."""
    page.goto((live.project / "data/report/report.html").as_uri())
    names, answers = (page.locator(f"#first .lead > {tag}").all() for tag in ("dt", "dd"))
    told = {name.inner_text(): answer for name, answer in zip(names, answers, strict=True)}
    assert list(told) == list(ANSWERS)
    for question, wanted in ANSWERS.items():
        box = told[question].bounding_box()  # None for what is not shown
        assert box and box["y"] + box["height"] <= 900 and box["x"] + box["width"] <= 1440, (
            f"{question}: not seen first"
        )
        assert re.search(wanted, told[question].inner_text()), told[question].inner_text()
    kept, dropped = (_sum(live, "clean/*/metrics.json", key) for key in ("documents_in", "documents_dropped"))
    assert told["Its data"].inner_text().startswith(f"{kept:,} documents")
    later = sum(_sum(live, f"{stage}/metrics.json", "documents_dropped") for stage in ("dedup", "decontaminated"))
    assert told["What was dropped"].inner_text().startswith(f"{dropped + later:,} of {kept:,} documents")
    assert page.evaluate("document.documentElement.scrollHeight") < 3000, "the rest is folded"
    shoot("report")

    page.evaluate("document.querySelectorAll('details').forEach(folded => folded.open = true)")
    shown = page.inner_text("body")
    assert not (found := _raw(live, shown)), f"raw keys of a metrics.json: {found}"
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440
    targets = page.eval_on_selector_all(
        "a[href^='#']", "links => links.map(link => link.getAttribute('href').slice(1))"
    )
    assert targets and not [name for name in targets if page.locator(f"[id='{name}']").count() == 0]


def _raw(live: Live, shown: str) -> list[str]:
    """Keys of any metrics.json of the project, at any depth, that a text shows as they are."""

    def keys(value: Any) -> set[str]:
        inner = value.values() if isinstance(value, dict) else ()
        return set(value if isinstance(value, dict) else ()).union(*map(keys, inner))

    files = [*(live.project / "data").glob("**/metrics.json")]
    assert len(files) > 10
    found = set[str]().union(*(keys(json.loads(file.read_text())) for file in files))
    return sorted(key for key in found if "_" in key and re.search(rf"(?<![\w/]){re.escape(key)}(?![\w/])", shown))


def _sum(live: Live, pattern: str, key: str) -> int:
    found = [json.loads(file.read_text()) for file in (live.project / "data").glob(pattern)]
    assert found, pattern
    return sum(metrics.get(key, 0) for metrics in found)
