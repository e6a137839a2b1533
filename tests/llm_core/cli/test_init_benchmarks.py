"""`llm-core init --benchmark`: the first rows are checked, and what is written is what the params read."""

import json
from pathlib import Path

import pytest
import yaml

from llm_core.cli import main
from llm_core.params import load


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("notes.txt").write_text("a note about rivers and the sea\n")
    rows = [{"question": f"What is {n}?", "options": ["a", "b"], "right": "b"} for n in range(3)]
    Path("quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Path("table.csv").write_text("question,one,two,answer\nWho?,Ann,Bob,A\n")
    Path("asked.jsonl").write_text('{"question": "Where?", "answer": "there"}\n')
    Path("task.yaml").write_text("test_split: test\n")
    return tmp_path


def init(*words: str) -> int | str | None:
    try:
        main(["init", "--documents", "notes.txt", "--license", "CC0-1.0", *words])
    except SystemExit as ended:
        return ended.code
    return 0


def test_own_benchmarks_are_written_and_scored(folder: Path) -> None:
    words = ["--benchmark", "quiz=quiz.jsonl", "--columns", "quiz:choices=options,answer=right"]
    words += ["--benchmark", "table=table.csv", "--columns", "table:choices=one+two"]
    words += [
        "--benchmark",
        "asked=asked.jsonl",
        "--benchmark",
        "words=f1:asked.jsonl",
        "--benchmark",
        "task=task.yaml",
    ]
    assert init(*words) == 0
    evaluation = load("params.yaml").evaluation
    assert {name: own.kind for name, own in evaluation.benchmarks.own.items()} == {
        "quiz": "multiple_choice", "table": "multiple_choice", "asked": "exact_match", "words": "f1", "task": None,
    }  # fmt: skip
    assert evaluation.benchmarks.own["table"].columns == {"choices": ["one", "two"]}
    assert evaluation.tasks[:5] == list(evaluation.benchmarks.own)
    assert yaml.safe_load(Path("params.yaml").read_text())["evaluation"]["benchmarks"]["tasks"] == evaluation.tasks[5:]


def test_a_benchmark_that_a_model_judges(folder: Path) -> None:
    assert init("--benchmark", "asked=judge:asked.jsonl", "--judge", ".") == 0
    own = load("params.yaml").evaluation.benchmarks.own["asked"]
    assert own.judge is not None and own.judge.model == "."


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--benchmark", "quiz=quiz.jsonl", "--columns", "quiz:choices=options"], "no column 'answer'"),
        (["--benchmark", "quiz=zz.jsonl"], "zz.jsonl is no file"),
        (["--benchmark", "quiz"], "write NAME=FILE"),
        (["--benchmark", "asked=judge:asked.jsonl"], "asked: of the kind judge needs --judge FOLDER"),
        (["--benchmark", "asked=judge:asked.jsonl", "--judge", "zz"], "needs --judge FOLDER"),
        (["--benchmark", "asked=asked.jsonl", "--judge", "."], "--judge .: no --benchmark NAME=judge:FILE uses it"),
        (["--benchmark", "arc_easy=asked.jsonl"], "another name"),
        (["--benchmark", "a=asked.jsonl", "--benchmark", "a=asked.jsonl"], "two benchmarks have this name"),
        (["--benchmark", "a=asked.jsonl", "--columns", "b:answer=x"], "no --finetune and no --benchmark"),
        (["--benchmark", "a=regex:asked.jsonl"], "pattern"),
    ],
)
def test_what_cannot_be_a_benchmark_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert init(*words) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and said in lines[0], lines
    assert not Path("params.yaml").exists()
