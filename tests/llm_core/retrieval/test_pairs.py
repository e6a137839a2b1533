"""Pairs for an encoder: a query's answer is in its passage, and no document is used for training and for testing."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llm_core.cli import encoder_data
from llm_core.errors import UserError
from llm_core.evaluation.answer_matching import holds
from llm_core.formats.documents import DocumentWriter
from llm_core.params import Params
from llm_core.retrieval.pairs import build_pairs
from llm_core.training.finetuning.rows import SIDES

WORDS = ("river", "coffee", "copper", "winter", "island", "railway", "harbour", "cotton", "desert", "timber")
PARAMS = Params.model_validate({"retrieval": {"passage_words": 40, "overlap_words": 4}})


def text(number: int) -> str:
    lines = [f"Line {number}-{at} tells of {WORDS[(number + at) % 10]} and of {WORDS[at]} at length" for at in range(8)]
    return "\n".join([*lines, f"Capital - name: Town{number}"])


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("split")
    for side, numbers in (("train", range(60)), ("heldout", range(60, 70))):
        with DocumentWriter(folder / side / "documents") as writer:
            writer.write_rows([document(number) for number in numbers])
    return folder


def document(number: int) -> dict[str, Any]:
    metadata = json.dumps({"title": f"Land{number}"})
    return {"id": f"d{number}", "source": "atlas", "text": text(number), "metadata": metadata}


def question(number: int) -> dict[str, Any]:
    asked = {"role": "user", "content": f"What is the capital of Land{number}?"}
    answer = f"Town{number}"
    said = {"role": "assistant", "content": answer}
    identity = {"id": f"q{number}", "field": "Capital - name", "documents": [f"d{number}"]}
    return {**identity, "answer": answer, "messages": [asked, said]}


QUESTIONS = {"train": [question(n) for n in range(20)], "heldout": [question(20)], "test": [question(60)]}


def test_a_line_and_its_passage_without_it(split: Path) -> None:
    made = build_pairs(split, {}, PARAMS)
    rows = [row for side in SIDES for row in made[side]]
    assert len(rows) > 100
    assert {row["kind"] for row in rows} == {"line"}
    texts = {f"d{number}": text(number) for number in range(70)}
    kept = 0
    for row in rows:
        title, _, passage = row["passage"].partition("\n")
        (name,) = row["documents"]
        assert title == f"Land{name[1:]}"
        assert row["query"] in texts[name]
        kept += row["query"] in passage
    assert 0 < kept < len(rows) / 4  # one in ten stays


def test_a_question_is_paired_with_the_passage_that_answers(split: Path) -> None:
    made = build_pairs(split, QUESTIONS, PARAMS)
    asked = {side: [row for row in made[side] if row["kind"] == "question"] for side in SIDES}
    assert {side: len(rows) for side, rows in asked.items()} == {"train": 20, "heldout": 1, "test": 1}
    for row in (row for rows in asked.values() for row in rows):
        number = row["documents"][0][1:]
        assert row["query"] == f"What is the capital of Land{number}?"
        assert holds(row["passage"], f"Town{number}")


def test_no_document_is_on_two_sides(split: Path) -> None:
    made = build_pairs(split, QUESTIONS, PARAMS)
    found = {side: {name for row in made[side] for name in row["documents"]} for side in SIDES}
    assert not found["train"] & found["heldout"]
    assert found["test"] == {f"d{number}" for number in range(60, 70)}  # those held out of pretraining
    assert "d20" in found["heldout"]  # its question's side


def test_a_bound_on_lines_and_the_same_draw_again(split: Path) -> None:
    few = PARAMS.model_copy(update={"retrieval": PARAMS.retrieval.model_copy(update={"pairs": 7})})
    made, whole = build_pairs(split, {}, few), build_pairs(split, {}, PARAMS)
    assert {side: len(rows) for side, rows in made.items()} == {side: min(7, len(whole[side])) for side in SIDES}
    assert len(whole["train"]) > 50
    assert all(row in whole[side] for side in SIDES for row in made[side])
    assert made == build_pairs(split, {}, few)


def test_the_verb_writes_rows_that_name_their_documents(split: Path, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("{}\n")
    arguments = ["--in", str(split), "--out", str(tmp_path / "pairs"), "--params", str(tmp_path / "params.yaml")]
    result = CliRunner().invoke(encoder_data.app, arguments)
    assert result.exit_code == 0, result.output
    metrics = json.loads((tmp_path / "pairs/metrics.json").read_text())
    lines = (tmp_path / "pairs/train.jsonl").read_text().splitlines()
    assert metrics["train_line"] == len(lines)
    assert metrics["train_question"] == 0
    listed = json.loads((tmp_path / "pairs/documents.json").read_text())["train"]
    assert {row["id"] for row in map(json.loads, lines)} == {name for rows in listed.values() for name in rows}


def test_a_source_that_is_not_there_is_refused_with_the_names(split: Path) -> None:
    params = PARAMS.model_copy(update={"retrieval": PARAMS.retrieval.model_copy(update={"sources": ["wiki-typo"]})})
    with pytest.raises(UserError, match=r"retrieval.sources: no such name: wiki-typo \(there are "):
        build_pairs(split, {}, params)
