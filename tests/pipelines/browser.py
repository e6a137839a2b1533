"""Headless Chromium for tests of pages; where there is none, they are skipped. SCREENSHOTS=folder keeps pictures."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def chromium() -> Iterator[Any]:
    """A page of a browser of its own."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install playwright)"
    )
    if not CHROMIUM:
        pytest.skip("no Chromium on this machine (apt install chromium)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1400, "height": 850})
        opened.set_default_timeout(120_000)
        opened.timeout_error = playwright.TimeoutError
        yield opened
        browser.close()


def shoot(page: Any, name: str) -> None:
    """Keep a picture of the page where SCREENSHOTS names a folder."""
    if os.environ.get("SCREENSHOTS"):
        Path(os.environ["SCREENSHOTS"]).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(3000)  # what was waited for is there, but not yet all around it
        page.screenshot(path=str(Path(os.environ["SCREENSHOTS"]) / f"{name}.png"))
