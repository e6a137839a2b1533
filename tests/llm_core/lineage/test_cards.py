"""The cards say what the ledgers say, and there is none for a text without a licence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter
from llm_core.formats.pages import to_markdown
from llm_core.lineage import cards
from llm_core.lineage.cards import dataset_card, model_card
from llm_core.params import Params
from tests.llm_core.lineage.conftest import IDS, rows
from tests.llm_core.lineage.test_journey import main_exit

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


def test_cards_from_the_command_line(project):
    assert main_exit(["takedown", "--id", IDS[5], "--reason", "asked by the author", "--apply"]) == 0
    assert main_exit(["card", "--out", "cards", "--model", "data/models/base"]) == 0
    assert sorted(file.name for file in (project / "cards").iterdir() if not file.name.startswith(".")) == [
        "base.html",
        "base.md",
        "dataset.html",
        "dataset.md",
    ]
    card = (project / "cards/dataset.md").read_text()
    assert "| asked by the author | named | 1 |" in card


@pytest.mark.slow
def test_a_text_without_a_licence_stops_dvc_repro(project):
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["card"]
    stage["deps"] = [path for path in stage["deps"] if Path(path).exists()]  # this project's pipeline is shorter
    del stage["params"]
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"card": stage}}))
    programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
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
