"""Every step from a page to token ids takes time linear in the document's size, whatever its content."""

import gc
import time

import pytest

from benchmarks.adversarial import SHAPES, STEPS, runner, shape
from llm_core.corpus.cleaning.extraction import begins_as_page
from llm_core.corpus.cleaning.steps import known
from llm_core.params.cleaning import Cleaning

SMALL, LARGE = 1 << 14, 1 << 17
NOISE = 0.25  # seconds; below, a comparison says nothing


def test_every_cleaning_step_and_recipe_is_measured() -> None:
    assert set(known(Cleaning())) - {"fineweb"} <= set(STEPS)


@pytest.mark.parametrize("step", STEPS)
def test_eight_times_the_document_costs_no_more_than_sixteen_times_the_time(step: str) -> None:
    """A quadratic step would cost 64 times as much. Processor time, which other processes do not count to."""
    run = runner(step)
    run("Warm. <p>é</p>")
    for name in SHAPES:
        seconds = []
        for size in (SMALL, LARGE):
            text = shape(name, size)
            gc.disable()  # collecting what other tests have left is not this step's time
            start = time.process_time()
            run(text)
            seconds.append(time.process_time() - start)
            gc.enable()
        assert seconds[1] < max(NOISE, 16 * seconds[0]), f"{step}, {name}: {seconds[0]:.4f} s, then {seconds[1]:.4f} s"


def test_a_page_is_known_by_its_root_behind_comments() -> None:
    assert begins_as_page("<!-- c -->" * 40 + "<html>") and not begins_as_page("<!-- c -->" * 400 + "# Title")
    assert begins_as_page('\n<?xml version="1.0"?> <!-- a\nb --> <!DOCTYPE HTML>') and begins_as_page("<HTML lang=en>")
    assert not any(map(begins_as_page, ("", "<!--", "<!-- <html>", "<p>", "text <html>", "<htmlx>")))
