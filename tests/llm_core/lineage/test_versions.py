"""A takedown tags the registered versions it concerns, on a real tracking store, and says so in its report."""

import shutil
from pathlib import Path

import mlflow
import pytest

from llm_core.lineage.versions import affected
from llm_core.runtime.digests import content_digest
from llm_core.tracking import runs, versions
from tests.llm_core.lineage.conftest import IDS
from tests.llm_core.lineage.test_journey import main_exit
from tests.llm_core.lineage.test_models import note


@pytest.fixture
def registered(project: Path, monkeypatch: pytest.MonkeyPatch) -> versions.Registry:
    """`base` as version 1 and `instruction` as version 2 of `language-model`; their folders are then gone."""
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/store.db")
    base, child = project / "data/models/base", project / "data/models/instruction"
    note(child, parent={"path": "data/models/base", "digest": content_digest(base)})
    for model in (base, child):
        with runs.run("register", {}) as run:
            logged = run.model(model)
        mlflow.register_model(f"models:/{logged}", "language-model", tags={"model_digest": content_digest(model)})
    shutil.rmtree(project / "data/models")
    return versions.Registry("language-model")


def test_versions_are_found_tagged_and_reported_when_the_models_are_gone(project, registered, capsys):
    first, second = affected({IDS[3]})
    assert (first["version"], second["version"]) == ("1", "2")
    assert first["of"] == 21
    assert len(first["steps"]) >= 2
    assert second["descends_from"] == "language-model version 1"
    assert affected({IDS[39]}) == []

    request = ["takedown", "--id", IDS[3], "--reason", "asked by the author", "--out-file", "report.html"]
    assert main_exit(request) == 0
    assert "takedown" not in registered.tags("1")  # a plan changes nothing
    assert main_exit([*request, "--apply"]) == 0
    assert "2 registered versions that a removed document went into" in capsys.readouterr().out
    for version in ("1", "2"):
        tags = registered.tags(version)
        assert tags["takedown"] == "affected"
        (told,) = [value for key, value in tags.items() if key.startswith("takedown.")]
        assert told.startswith(f"id {IDS[3]}: ")
        assert told.endswith("of 21 steps (asked by the author)")
    page = (project / "report.html").read_text()
    assert ">language-model version 2</td>" in page
    assert IDS[4] in page  # the hidden twin
    assert "The treaty" not in page  # no document's text is handed over


def test_a_version_whose_data_is_gone_is_tagged_unknown(project, registered):
    shutil.rmtree(project / "data/tokens")
    rows = affected({IDS[3]})
    assert ["unknown" in row for row in rows] == [True, True]
    assert main_exit(["takedown", "--id", IDS[3], "--reason", "asked", "--apply"]) == 0
    assert registered.tags("1")["takedown"] == "unknown"


def test_the_report_of_the_check_says_what_is_left(project):
    assert main_exit(["takedown", "--id", IDS[3], "--reason", "asked", "--apply"]) == 0
    assert main_exit(["takedown", "--check", "--out-file", "proof.md"]) == 1
    proof = (project / "proof.md").read_text()
    assert "NOT DONE" in proof
    assert f"| id {IDS[4]} | asked | same_text |" in proof
    assert f"| dedup | 1 | {content_digest(project / 'data/dedup/documents')} |" in proof
