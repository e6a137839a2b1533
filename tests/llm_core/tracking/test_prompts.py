"""Templates in a real registry: a version is a text, and runs and traces name the versions that they used."""

import json
from pathlib import Path

import pytest

from llm_core.tracking import prompts, runs, traces
from llm_core.tracking.versions import registered_models
from tests.mlflow_server import mlflow_server
from tests.pipelines.browser import chromium, shoot

LINKED = "mlflow.linkedPrompts"
ASK = "{{evidence}}\n{{question}}"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def used(**templates: str) -> list[tuple[str, str]]:
    """(name, version) of what a run with these templates is linked to."""
    with runs.run("evaluate", {}, kind="evaluation") as run:
        prompts.link_run(run, templates)
    tags = runs.client().get_run(run.run_id).data.tags
    return [(each["name"], each["version"]) for each in json.loads(tags.get(LINKED, "[]"))]


def test_a_version_is_a_text(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert used(ask=ASK, agent="Answer {{question}}") == [("ask", "1"), ("agent", "1")]
    assert used(ask=ASK) == [("ask", "1")]
    assert used(ask=f"{ASK}?") == [("ask", "2")]
    prompts._known.clear()  # as in another process
    assert used(ask=ASK) == [("ask", "1")], "a text that was there before is no third version"
    found = runs.client().get_prompt_version("ask", "2")
    assert (found.template, found.variables) == (f"{ASK}?", {"evidence", "question"})
    assert registered_models() == [], "a template is no model"
    place = runs.client().get_experiment_by_name("llm-pipeline-evaluation").experiment_id
    listed = runs.client().search_prompts(filter_string=f'experiment_id = "{place}"')
    assert sorted(prompt.name for prompt in listed) == ["agent", "ask"]

    runs.client().create_registered_model("judge-mine")
    assert used(**{"judge-mine": "{{answer}}?"}) == [], "the name of a model"
    assert "is not linked to its prompt templates: " in capsys.readouterr().err


def test_without_tracking_nothing_is_registered(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_CORE_TRACKING", "off")
    with runs.run("evaluate", {}) as run:
        prompts.link_run(run, {"ask": ASK})
    assert not (store / "mlflow.db").exists()


@pytest.mark.slow
def test_run_trace_and_template_lead_to_each_other_in_the_browser(store: Path) -> None:
    with runs.run("evaluate", {}, kind="evaluation") as run:
        prompts.link_run(run, {"judge-mine": "Is {{answer}} right?"})
    root = traces.Step("CHAIN", "ask", {"question": "1+1?"}, {"answer": "2"}, templates={"ask": ASK})
    assert traces.keep(lambda: (root, []))
    uses = runs.client().get_experiment_by_name("llm-pipeline-use").experiment_id
    with chromium() as page, mlflow_server(store) as address:
        page.goto(f"{address}/#/experiments/{run.experiment_id}/runs/{run.run_id}")
        page.get_by_text("judge-mine").first.wait_for()
        shoot(page, "prompt-of-run")
        page.goto("about:blank")
        page.goto(f"{address}/#/experiments/{uses}/prompts")
        page.get_by_text("ask", exact=True).first.wait_for()
        shoot(page, "prompts")
