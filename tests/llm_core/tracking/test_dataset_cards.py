"""From a version and from a training run in MLflow it is one click to the dataset card that names their data."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from llm_core.lineage.training import other_data
from llm_core.runtime.digests import content_digest
from llm_core.tracking import runs
from pipelines.ui import wait_for
from tests.llm_core.evaluation.test_gate import _results
from tests.llm_core.lineage.conftest import project  # noqa: F401 - a fixture
from tests.llm_core.lineage.test_journey import main_exit
from tests.pipelines.browser import chromium
from tests.waiting import free_port

NAME = "language-model-base"


@pytest.fixture
def registered(project: Path, gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:  # noqa: F811
    """Ids of runs by what they are, of a project with a card and a model that was trained, evaluated and registered."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{project}/mlflow.db")
    monkeypatch.setenv("LLM_CORE_TRACKING", "on")
    model, evaluation = Path("data/models/base"), Path("data/evaluation/base")
    shutil.copytree(gpt2, model, dirs_exist_ok=True)
    record = json.loads((model / "training_data.json").read_text())
    record["tokens_digest"] = content_digest(Path("data/tokens/train"))
    (model / "training_data.json").write_text(json.dumps(record))
    (project / "elsewhere").mkdir()
    trained = {name: training(name, model if name == "same" else None) for name in ("same", "elsewhere")}
    evaluation.mkdir(parents=True)
    (evaluation / "about.json").write_text(json.dumps({"model": str(model), "digest": content_digest(model)}))
    (evaluation / "metrics.json").write_text(json.dumps({}))
    (evaluation / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _results(0)["bits_per_byte"]))
    assert main_exit(["card", "--out", "data/card"]) == 0
    assert register("data/card") == 0
    return trained | {"later": training("later")}


def training(name: str, model: Path | None = None) -> str:
    """A run on the project's tokens, or on the folder `elsewhere`."""
    with runs.run("pretrain-gpt2", {}, {"model_digest": content_digest(model)} if model else {}) as run:
        run.dataset("elsewhere" if name == "elsewhere" else "data/tokens/train", "training")
        run.describe(f"The training {name}.")
    return run.run_id


def register(card: str) -> int:
    folders = ["--model", "data/models/base", "--evaluation", "data/evaluation/base", "--card", card]
    return main_exit(["register", *folders, "--out-file", "record.json"])


def version() -> Any:
    return runs.client().get_model_version(NAME, "1")


@pytest.mark.slow
def test_versions_and_runs_link_to_the_card_of_their_data(registered: dict[str, str], project: Path) -> None:  # noqa: F811
    keeper = version().tags["evaluation_run"]
    experiment = runs.client().get_run(keeper).info.experiment_id
    link = f"Data: [dataset card](#/experiments/{experiment}/runs/{keeper}/artifacts/card/dataset.html)"
    assert link in version().description
    notes = {name: runs.client().get_run(run).data.tags["mlflow.note.content"] for name, run in registered.items()}
    assert notes == {
        "same": f"The training same.\n\n{link}",
        "later": f"The training later.\n\n{link}",
        "elsewhere": "The training elsewhere.",
    }
    assert "dataset.html" in [Path(file.path).name for file in runs.client().list_artifacts(keeper, "card")]
    card = (project / "data/card/dataset.html").read_text()
    named = runs.client().get_run(registered["same"]).inputs.dataset_inputs[0].dataset
    assert named.name == "data/tokens/train" and named.digest in card

    assert register("data/card") == 0, "again, as after a changed sentence in the card"
    assert runs.client().get_run(registered["same"]).data.tags["mlflow.note.content"].count("dataset card") == 1

    digests = project / "data/card/digests.json"
    digests.write_text(digests.read_text().replace(named.digest, "another"))
    assert "data/tokens/train as data/models/base was trained on it" in other_data(
        Path("data/card"), Path("data/models/base")
    )
    assert register("data/card") == 0
    assert "dataset card" not in version().description, "the card is of other data"


@pytest.mark.slow
def test_the_card_is_one_click_away_in_the_browser(registered: dict[str, str], project: Path) -> None:  # noqa: F811
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    settings = {
        "MLFLOW_BACKEND_STORE_URI": os.environ["MLFLOW_TRACKING_URI"],
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "0",
    }
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    log = project / "mlflow.log"
    trained = runs.client().get_run(registered["same"]).info
    pages = [f"models/{NAME}/versions/1", f"experiments/{trained.experiment_id}/runs/{trained.run_id}"]
    with chromium() as page, open(log, "w") as output:
        server = subprocess.Popen(command, env={**os.environ, **settings}, stdout=output, stderr=output)
        try:
            wait_for(address, server, log)
            for start in pages:
                page.goto("about:blank")
                page.goto(f"{address}/#/{start}")
                link = page.get_by_role("link", name="dataset card").first
                link.wait_for()
                with page.context.expect_page() as opened:
                    link.click()
                opened.value.frame_locator("iframe").get_by_role("heading", name="Dataset card").wait_for()
        finally:
            server.terminate()
            server.wait(timeout=60)
