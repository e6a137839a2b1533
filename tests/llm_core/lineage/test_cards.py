"""The cards say what the ledgers say, and there is none for a text without a licence."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter
from llm_core.formats.pages import to_markdown
from llm_core.lineage import cards
from llm_core.lineage.cards import dataset_card
from llm_core.lineage.model_cards import model_card
from llm_core.lineage.training import trainings
from llm_core.params import Params
from llm_core.runtime.digests import content_digest
from tests.llm_core.lineage.conftest import IDS, rows
from tests.llm_core.lineage.test_journey import main_exit
from tests.warm import start

ROOT = Path(__file__).parents[3]


def test_the_dataset_card_counts_what_the_ledgers_hold(project):
    card = to_markdown(dataset_card(project / "data", Params()))
    assert card.startswith("# Dataset card\n\n38 documents")
    assert "| public-domain | web | 38 |" in card
    assert "- clean: the steps extract, repair;" in card
    assert "| clean | 40 | 39 | 0 | 1 |" in card
    assert "| dedup | web | exact_duplicate | 1 |" in card
    assert "No document has been removed on request." in card


def test_a_card_shows_no_password_and_no_token():
    source = {"kind": "files", "paths": ["https://me:s3cret@h.example/a.jsonl?token=s3cret"], "license": "CC0-1.0"}
    shown = cards._origins(Params.model_validate({"sources": {"own": source}}))
    assert "https://***@h.example/a.jsonl?token=***" in shown[0] and "s3cret" not in shown[0]


def test_a_text_without_a_licence_stops_the_card(project):
    with DocumentWriter(project / "data/dedup/documents") as writer:
        writer.write_rows([{**rows()[0], "license": None}])
    with pytest.raises(UserError, match=r"no licence for web \(1 documents\)"):
        dataset_card(project / "data", Params())


def test_the_model_card_names_what_it_was_trained_on(project):
    card = to_markdown(model_card(project / "data/models/instruction"))
    assert "steps 0 to 20: 38 documents" in card
    assert "- seed: 5" in card
    assert "was finetuned from" in card


def test_the_card_of_a_merged_model_names_its_models_and_the_run_once(project):
    base, snapshot = project / "data/models/base", project / "data/models/base/snapshots/step00000010"
    snapshot.mkdir(parents=True)
    record = json.loads((base / "training_data.json").read_text())
    (snapshot / "training_data.json").write_text(json.dumps(record | {"steps": 10}))
    parents = [{"path": f"data/models/base{part}", "weight": 1 / 3} for part in ("/snapshots/step00000010", "")]
    averaged, tuned = project / "data/models/averaged", project / "data/models/instruction"
    averaged.mkdir()
    (averaged / "config.json").write_text("{}")
    (averaged / "metrics.json").write_text(json.dumps({"merged": {"method": "linear", "models": parents}}))
    (tuned / "metrics.json").write_text(json.dumps({"parent": {"path": "data/models/averaged"}}))
    for model in (averaged, tuned):
        card = to_markdown(model_card(model))
        assert (
            f"{Path('data/models/averaged') if model == tuned else averaged} was merged (linear) from "
            "data/models/base/snapshots/step00000010 (weight 0.3333), data/models/base (weight 0.3333)."
        ) in card
        assert card.count(": 38 documents") == card.count("loader state below") == 1 and "steps 0 to 20" in card
        assert ("was finetuned from data/models/averaged." in card) == (model == tuned)
    assert main_exit(["documents", "--model", "data/models/averaged", "--out-file", "averaged.parquet"]) == 0
    assert main_exit(["documents", "--model", "data/models/base", "--out-file", "base.parquet"]) == 0
    rows, alone = (pq.read_table(f"{name}.parquet").to_pylist() for name in ("averaged", "base"))
    assert rows == [{**row, "generation": 1} for row in alone]
    (averaged / "metrics.json").write_text(json.dumps({"merged": {"method": "linear", "models": parents[:1]}}))
    assert [(depth, data.steps) for depth, data in trainings(averaged)] == [(1, 10)]
    shutil.copytree(base, project / "data/models/other")  # another run with the same data, by another learning rate
    both = [parents[1], {"path": "data/models/other", "weight": 0.5}]
    (averaged / "metrics.json").write_text(json.dumps({"merged": {"method": "linear", "models": both}}))
    assert [(depth, data.model.name) for depth, data in trainings(averaged)] == [(1, "base"), (1, "other")]


def test_cards_from_the_command_line(project):
    assert main_exit(["takedown", "--id", IDS[5], "--reason", "asked by the author", "--apply"]) == 0
    assert main_exit(["card", "--out", "cards", "--model", "data/models/base"]) == 0
    assert sorted(file.name for file in (project / "cards").iterdir() if not file.name.startswith(".")) == [
        "base.html",
        "base.md",
        "dataset.html",
        "dataset.md",
        "digests.json",
    ]
    digests = json.loads((project / "cards/digests.json").read_text())
    assert digests == {name: content_digest(Path(name)) for name in ("data/dedup/documents", "data/tokens/train")}
    card = (project / "cards/dataset.md").read_text()
    assert "| asked by the author | named | 1 |" in card
    assert all(f"- {name}: {digest}" in card for name, digest in digests.items())


@pytest.mark.slow
def test_a_text_without_a_licence_stops_dvc_repro(project):
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["card"]
    stage["deps"] = [path for path in stage["deps"] if Path(path).exists()]  # this project's pipeline is shorter
    del stage["params"]
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"card": stage}}))
    programs = start.path()
    environment = os.environ | {"PATH": programs, "PYTHONPATH": str(ROOT)}
    subprocess.run(["dvc", "init", "-q", "--no-scm"], env=environment, check=True)
    command = ["dvc", "repro"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    card = project / "data/card/dataset.md"
    assert "| public-domain | web | 38 |" in card.read_text()
    with DocumentWriter(project / "data/dedup/documents") as writer:
        writer.write_rows([{**rows()[0], "license": None}])
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode != 0
    assert "no licence for web (1 documents): set sources.NAME.license in params.yaml" in done.stderr
    assert not card.exists(), "no card stays that could be taken for this version's"
