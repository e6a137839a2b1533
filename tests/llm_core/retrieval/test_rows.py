"""Rows with evidence: training shows what `ask` shows, and a right answer can be read there."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from llm_core.cli import evidence_data
from llm_core.evaluation.answer_matching import holds
from llm_core.params.retrieval import Retrieval
from llm_core.retrieval.ask import evidence
from llm_core.retrieval.index import build
from llm_core.retrieval.rows import EXCHANGED, NOT_THERE, RowBuilder
from tests.llm_core.retrieval.test_index import TEXTS, corpus

PARAMS = Retrieval(passage_words=16, overlap_words=4, encoder="none", evidence=2)
CAPITALS = {"France": "Paris", "Japan": "Tokyo", "Kenya": "Nairobi", "Norway": "Oslo", "Peru": "Lima"}


def question(country: str, answer: str, number: int = 0, asked: str = "What is the capital of {}?") -> dict[str, Any]:
    turns = [{"role": "user", "content": asked.format(country)}, {"role": "assistant", "content": answer}]
    identity = {"id": f"{country}{number}", "kind": "closed", "country": country, "field": "Capital"}
    return {**identity, "answer": answer, "messages": turns, "documents": [f"facts of {country}"]}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words")
    build([corpus(folder, *TEXTS)], folder / "index", PARAMS, folder / "no-takedowns")
    return folder / "index"


def test_the_prompt_is_the_evidence_that_ask_shows(words: Path) -> None:
    builder = RowBuilder(words, PARAMS, seed=1)
    for number in range(20):
        asked = question("Japan", "Tokyo", number)
        for row in builder([asked]):
            if row["kind"] == "retrieved":
                text = asked["messages"][0]["content"]
                hits = [hit.passage for hit in builder.search(text, PARAMS.top)]
                shown = [line.text for line in evidence(builder.search, text, hits, PARAMS.evidence)]
                assert any(holds(line, "Tokyo") for line in shown)
                assert row["messages"][0]["content"] == "\n".join([*shown, text])
                assert row["messages"][1]["content"] == "Tokyo"


def test_a_line_that_search_missed_takes_the_last_ones_place(words: Path) -> None:
    builder = RowBuilder(words, PARAMS, seed=1)
    asked = [question("Kenya", "Victoria", n, "What is the capital of France and Japan, not {}?") for n in range(20)]
    retrieved = [row for row in builder(asked) if row["kind"] == "retrieved"]
    assert retrieved
    for row in retrieved:
        lines = row["messages"][0]["content"].split("\n")[:-1]
        assert len(lines) == PARAMS.evidence
        assert sum("Lake Victoria" in line for line in lines) == 1


def test_some_rows_refuse_and_then_no_line_holds_the_answer(words: Path) -> None:
    asked = [question(country, capital, n) for n in range(60) for country, capital in CAPITALS.items()]
    rows = RowBuilder(words, PARAMS, seed=1)(asked)
    kinds = {kind: [row for row in rows if row["kind"] == kind] for kind in ("closed", "retrieved", "refused")}
    assert 40 < len(kinds["closed"]) < 110  # one in four of 300
    assert 3 <= len(kinds["refused"]) < 35  # one in twenty
    assert len(kinds["retrieved"]) + len(kinds["refused"]) == len(asked)
    for row in kinds["refused"]:
        assert row["messages"][1]["content"] == row["answer"] == NOT_THERE
        assert not holds(row["messages"][0]["content"], CAPITALS[row["country"]])
    for row in kinds["retrieved"]:
        assert holds(row["messages"][0]["content"], row["answer"])
        assert f"facts of {row['country']}" in row["documents"]
        assert len(row["documents"]) > 1  # those of the lines that it shows
    assert len({row["id"] for row in rows}) == len(rows)
    assert rows == RowBuilder(words, PARAMS, seed=1)(asked)


def test_an_answer_that_the_corpus_does_not_hold_gives_no_row_to_guess_from(words: Path) -> None:
    rows = RowBuilder(words, PARAMS, seed=1)([question("Peru", "Cusco", number) for number in range(40)])
    assert not [row for row in rows if row["kind"] == "retrieved"]


def test_exchanged_answers_are_read_in_the_lines_and_are_of_no_use_to_memory(words: Path) -> None:
    asked = [question(country, capital) for country, capital in CAPITALS.items()]
    asked.append({**question("Japan", "yen", 1, "What is the currency of {}?"), "field": "Currency"})
    rows = [row for row in RowBuilder(words, PARAMS, seed=1)(asked) if row["kind"] == "exchanged"]
    facts = {row["messages"][0]["content"]: (row["answer"], row["country"]) for row in asked}
    origin = dict(facts.values())
    assert len(rows) == len({row["id"] for row in rows}) >= EXCHANGED
    exchanged = 0
    for row in rows:
        text = row["messages"][0]["content"]
        turns = [
            (row["messages"][at]["content"], row["messages"][at + 1]["content"])
            for at in range(0, len(row["messages"]), 2)
        ]
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"] * len(turns)
        assert row["messages"][-1]["content"] == row["answer"]
        for asks, told in turns:
            right, country = facts[asks.split("\n")[-1]]
            assert holds(text, told)
            assert country == row["country"]
            assert {f"facts of {country}", f"facts of {origin[told]}"} <= set(row["documents"])
            if told != right:
                exchanged += 1
                assert not holds(text.rpartition("\n")[0], right) or right in [other for _, other in turns]
    assert exchanged > len(rows) / 2
    assert rows == [row for row in RowBuilder(words, PARAMS, seed=1)(asked) if row["kind"] == "exchanged"]


def test_sides_stay_apart(words: Path, tmp_path: Path) -> None:
    sides = {"train": ["France", "Japan", "Kenya"], "heldout": ["Norway"], "test": ["Peru"]}
    source = tmp_path / "instruction"
    source.mkdir()
    for side, countries in sides.items():
        rows = [question(country, CAPITALS[country]) for country in countries]
        rows.append({**rows[0], "id": "open", "kind": "open"})
        (source / f"{side}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    out = tmp_path / "rows"
    params = tmp_path / "params.yaml"
    params.write_text("retrieval: {encoder: none}\n")
    given = ["--rows", str(source), "--index", str(words), "--out", str(out), "--params", str(params)]
    done = CliRunner().invoke(evidence_data.app, given)
    assert done.exit_code == 0, done.output
    for side, countries in sides.items():
        rows = [json.loads(line) for line in (out / f"{side}.jsonl").read_text().splitlines()]
        assert {row["country"] for row in rows} == set(countries)
        assert "open" not in {row["kind"] for row in rows}
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["train_retrieved"] + metrics["train_refused"] == 3
    listing = json.loads((out / "documents.json").read_text())
    assert {f"facts of {country}" for country in sides["train"]} <= set(listing["train"])
    assert not {"facts of Norway", "facts of Peru"} & set(listing["train"])
