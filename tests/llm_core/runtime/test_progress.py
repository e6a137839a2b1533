"""What a task says of itself: figures for a line, and those that only `watch` and Dagster show."""

import pytest

from llm_core.runtime import progress


def test_a_lines_figures_are_few_and_the_states_are_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Halfway after ten seconds: ten more."""
    now, reported = [100.0], []
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "report", reported.append)
    work = progress.Task("train", 40, "tokens", True, done=20)
    now[0] += 10
    work.note(**{"loss/web": 2.5})
    work.update(10, loss=3.0)
    assert work.line() == "train: 30 of 40 (75%) tokens, 1/s, 10 s left, loss 3.0"
    assert work.state()["figures"] == {"loss": 3.0, "loss/web": 2.5} and reported == []
    now[0] += progress.REPORT_EVERY_SECONDS
    work.update(10, loss=2.0)
    (report,) = reported
    state = report[progress.PROGRESS]
    assert (state["done"], state["total"], state["rate"], state["seconds_left"]) == (40, 40, 0.5, None)
    assert state["figures"] == {"loss": 2.0, "loss/web": 2.5} and "losses" not in state
    work.update(0)
    assert len(reported) == 1, "not before the next half minute"
