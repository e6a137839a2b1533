"""Properties of every document stage, present and future.

Stages are found on the command line: each verb with `--in` and `--out`. A new one must be entered below, or this test
fails; then it must keep the books (in = kept + dropped), invent and repeat no id, and never succeed about nothing.
"""

import importlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import typer

from llm_core.cli import VERBS, main

TEXT = "river town stone winter harbour bridge market forest letter garden window silver morning thunder"
WORDS = TEXT.split()
ARGUMENTS = {  # document stage -> what it needs beside --in and --out, what it may be told to drop everything
    "clean": ([], ["--set", "cleaning.min_characters=100000"]),
    "filter": (["--recipe", "gopher_quality"], ["--set", "cleaning.min_characters=100000"]),
    "dedup": ([], ["--takedowns", "all.jsonl"]),
    "dedup-text": ([], None),  # the first holder of a piece keeps it, so that something is always left
    "decontaminate": (["--benchmarks", "items.jsonl"], ["--benchmarks", "all.txt"]),
    "split": ([], None),  # a side is chosen for each document, and none is dropped
    "mix": ([], ["--set", "mix.total=1"]),
}
OTHERS = {  # verbs that read documents and write something else
    "tokenize": ["--tokenizer", "tokenizer"],
    "index": ["--set", "retrieval.encoder=none"],
    "train-tokenizer": [],
    "word2vec": [],
}
NOT_DOCUMENTS = {"extract", "finetune-data", "evaluate", "encoder-data"}  # archives, rows, models
UNIQUE = {*ARGUMENTS, "tokenize", "index"}


def run(*arguments: str) -> int:
    try:
        main(list(arguments))
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def text(number: int) -> str:
    parts = (WORDS[(number * 7 + place * place + number * place) % len(WORDS)] for place in range(60))
    words = " ".join(f"{word}{number % 5}" for word in parts)
    return f"Page {number} is the one about it, and that is to be read with the others. The {words}."


def write(file: Path, rows: list[dict]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(
        "seed: 1\ncleaning: {steps: [repair]}\ndeduplication: {max_dropped_share: 1}\ntokenizer: {vocab_size: 300}\n"
    )
    rows = [{"id": f"d{number}", "source": f"s{number % 2}", "text": text(number)} for number in range(30)]
    rows[9]["text"] = rows[8]["text"]
    write(tmp_path / "in/a.jsonl", rows)
    write(tmp_path / "items.jsonl", [{"id": "1", "text": rows[3]["text"]}])
    write(tmp_path / "all.jsonl", [{"id": row["id"], "reason": "asked"} for row in rows])
    (tmp_path / "all.txt").write_text("\n".join(row["text"] for row in rows))
    return tmp_path


def given(verb: str, rows: Path) -> str:
    """The folder of documents as the verb wants it: `mix` reads a split."""
    if verb != "mix":
        return str(rows)
    write(Path("as-split/train/a.jsonl"), [json.loads(line) for line in (rows / "a.jsonl").read_text().splitlines()])
    return "as-split"


def table(folder: Path) -> list[dict]:
    return [row for file in sorted(folder.rglob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def test_every_verb_that_reads_documents_is_known_here():
    found = set()
    for verb, (module, *_) in VERBS.items():
        command = typer.main.get_command(importlib.import_module(f"llm_core.cli.{module}").app)
        options = {option for parameter in command.params for option in parameter.opts}
        if {"--in", "--out"} <= options:
            found.add(verb)
    assert found == {*ARGUMENTS, *OTHERS, *NOT_DOCUMENTS}


@pytest.mark.parametrize("verb", ARGUMENTS)
def test_in_is_kept_and_dropped_and_ids_are_those_that_came(folder, verb):
    assert run(verb, "--in", given(verb, folder / "in"), "--out", "out", *ARGUMENTS[verb][0]) == 0
    metrics = json.loads(Path("out/metrics.json").read_text())
    ledger = table(Path("out/ledger"))
    kept = [row for row in ledger if row["verdict"] != "dropped"]
    assert metrics["documents_in"] == len(ledger) == 30
    assert metrics["documents_kept"] + metrics["documents_dropped"] == 30
    assert metrics["documents_kept"] == len(kept) > 0
    assert all(row["reason"] for row in ledger if row["verdict"] == "dropped")
    came = {f"d{number}" for number in range(30)}
    assert {row["id"] for row in ledger} == came
    written = [
        row for part in ("documents", "train/documents", "heldout/documents") for row in table(Path("out") / part)
    ]
    assert sorted(row["id"] for row in written) == sorted(row["id"] for row in kept)
    sources = {row["id"]: row["source"] for row in ledger}
    assert all(row["source"] == sources[row["id"]] == f"s{int(row['id'][1:]) % 2}" for row in written)


@pytest.mark.parametrize("verb", [*ARGUMENTS, *OTHERS])
@pytest.mark.parametrize("rows", [[], None])
def test_nothing_to_read_is_an_error(folder, verb, rows, capsys):
    empty = folder / "empty"
    empty.mkdir()
    if rows is not None:
        write(empty / "a.jsonl", rows)
    place = given(verb, empty) if rows is not None else str(empty)
    assert run("train-tokenizer", "--in", "in", "--out", "tokenizer") == 0
    assert run(verb, "--in", place, "--out", "out", *{**OTHERS, **{v: a for v, (a, _) in ARGUMENTS.items()}}[verb]) == 1
    assert not Path("out").exists()
    assert capsys.readouterr().err.splitlines()[-1].startswith("llm-core: error: ")


@pytest.mark.parametrize("verb", [verb for verb, (_, some) in ARGUMENTS.items() if some and verb != "dedup"])
def test_a_stage_that_keeps_nothing_fails_and_says_why(folder, verb, capsys):
    everything = ARGUMENTS[verb][1]
    needed = [] if verb == "decontaminate" else ARGUMENTS[verb][0]
    assert run(verb, "--in", given(verb, folder / "in"), "--out", "out", *needed, *everything) == 1
    assert not Path("out").exists()
    assert f"{verb}: none of 30 documents is left (" in capsys.readouterr().err.splitlines()[-1]


def test_dedup_obeys_tombstones_that_name_every_document_and_says_so(folder, capsys):
    assert run("dedup", "--in", given("dedup", folder / "in"), "--out", "out", *ARGUMENTS["dedup"][1]) == 0
    assert json.loads(Path("out/metrics.json").read_text())["documents_kept"] == 0
    assert "every document was taken down" in capsys.readouterr().err


@pytest.mark.parametrize("verb", sorted(UNIQUE))
def test_an_id_that_names_two_documents_is_refused_with_both_places(folder, verb, capsys):
    rows = [{"id": f"d{number}", "source": "s", "text": text(number)} for number in range(20)]
    write(folder / "in/a.jsonl", [*rows, {"id": "d4", "source": "t", "text": text(99)}])
    assert run("train-tokenizer", "--in", "in", "--out", "tokenizer") == 0
    needed = OTHERS.get(verb) or ARGUMENTS[verb][0]
    assert run(verb, "--in", given(verb, folder / "in"), "--out", "out", *needed) == 1
    assert not Path("out").exists()
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"llm-core: error: {verb}: the id 'd4' is in ")
    assert last.count("a.jsonl, row ") == 2
