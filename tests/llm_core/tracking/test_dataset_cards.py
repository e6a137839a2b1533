"""From a version and from a training run in MLflow it is one click to the dataset card that names their data."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from llm_core.runtime.digests import content_digest
from llm_core.tracking import dataset_cards, runs
from llm_core.tracking.dataset_cards import tokens_of_model
from tests.llm_core.evaluation.test_gate import _results
from tests.llm_core.lineage.conftest import project  # noqa: F401 - a fixture
from tests.llm_core.lineage.test_journey import main_exit
from tests.mlflow_server import mlflow_server
from tests.pipelines.browser import chromium

NAME = "language-model-base"


@pytest.fixture
def registered(project: Path, gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:  # noqa: F811
    """Ids of runs by what they are, of a project with a card and a model that was trained and registered before it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    model, evaluation = Path("data/models/base"), Path("data/evaluation/base")
    shutil.copytree(gpt2, model, dirs_exist_ok=True)
    record = json.loads((model / "training_data.json").read_text())
    record["tokens_digest"] = content_digest(Path("data/tokens/train"))
    (model / "training_data.json").write_text(json.dumps(record))
    (project / "elsewhere").mkdir()
    trained = {name: training(name) for name in ("same", "elsewhere")}
    evaluation.mkdir(parents=True)
    (evaluation / "about.json").write_text(json.dumps({"model": str(model), "digest": content_digest(model)}))
    (evaluation / "metrics.json").write_text(json.dumps({}))
    (evaluation / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _results(0)["bits_per_byte"]))
    assert register() == 0
    assert "dataset card" not in version("1").description
    assert main_exit(["card", "--out", "data/card"]) == 0
    return trained | {"later": training("later")}


def training(name: str) -> str:
    """A run on the tokens, or on the folder `elsewhere`, that reads documents of which the card speaks too."""
    with runs.run("pretrain-gpt2", {}) as run:
        run.dataset("elsewhere" if name == "elsewhere" else "data/tokens/train", "training")
        run.dataset("data/dedup/documents", "evaluation")
        run.describe(f"The training {name}.")
    return run.run_id


def register() -> int:
    folders = ["--model", "data/models/base", "--evaluation", "data/evaluation/base"]
    return main_exit(["register", *folders, "--out-file", "record.json"])


def version(number: str) -> Any:
    return runs.client().get_model_version(NAME, number)


def note(run: str) -> str:
    return str(runs.client().get_run(run).data.tags["mlflow.note.content"])


@pytest.mark.slow
def test_versions_and_runs_link_to_the_card_of_their_tokens(registered: dict[str, str], project: Path) -> None:  # noqa: F811
    link = note(registered["same"]).removeprefix("The training same.\n\n")
    assert link.startswith("Data: [dataset card](#/experiments/") and "/artifacts/card/dataset.html?" in link
    assert version("1").description.endswith(link), "registered before the card was kept"
    assert note(registered["later"]) == f"The training later.\n\n{link}"
    assert note(registered["elsewhere"]) == "The training elsewhere.", "which has read the same documents"
    keeper = link.split("/runs/")[1].split("/")[0]
    assert "dataset.html" in [Path(file.path).name for file in runs.client().list_artifacts(keeper, "card")]
    named = runs.client().get_run(registered["same"]).inputs.dataset_inputs[0].dataset
    assert named.name == "data/tokens/train" and named.digest in (project / "data/card/dataset.html").read_text()

    assert register() == 0 and version("1").description.count("dataset card") == 1
    assert main_exit(["card", "--out", "data/card"]) == 0
    assert note(registered["same"]).count("dataset card") == 1

    Path("data/models/base/training_data.json").unlink()
    digest = {"model": "data/models/base", "digest": content_digest(Path("data/models/base"))}
    Path("data/evaluation/base/about.json").write_text(json.dumps(digest))
    assert register() == 0
    assert "dataset card" not in version("2").description, "a model of which nothing says what it was trained on"


def test_a_finetune_has_the_tokens_of_its_parent(tmp_path: Path) -> None:
    assert tokens_of_model(tmp_path) == ""
    (tmp_path / "metrics.json").write_text(
        json.dumps({"parent": {"path": "base", "digest": "d", "tokens_digest": "t"}})
    )
    assert tokens_of_model(tmp_path) == "t"
    (tmp_path / "training_data.json").write_text(json.dumps({"tokens_digest": "own"}))
    assert tokens_of_model(tmp_path) == "own"


def test_a_store_that_gives_no_answer_leaves_a_finished_run_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    with runs.run("pretrain-gpt2", {}, {dataset_cards.TAG: "' is no digest"}) as run:
        pass
    assert runs.client().get_run(run.run_id).info.status == "FINISHED"
    assert "no link to a dataset card" in capsys.readouterr().err


@pytest.mark.slow
def test_the_card_is_one_click_away_in_the_browser(registered: dict[str, str], project: Path) -> None:  # noqa: F811
    trained = runs.client().get_run(registered["same"]).info
    pages = [f"models/{NAME}/versions/1", f"experiments/{trained.experiment_id}/runs/{trained.run_id}"]
    with chromium() as page, mlflow_server(project) as address:
        for start in pages:
            page.goto("about:blank")
            page.goto(f"{address}/#/{start}")
            link = page.get_by_role("link", name="dataset card").first
            link.wait_for()
            with page.context.expect_page() as opened:
                link.click()
            opened.value.frame_locator("iframe").get_by_role("heading", name="Dataset card").wait_for()
