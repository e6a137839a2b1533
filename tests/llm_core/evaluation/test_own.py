"""Files of questions as benchmarks: read by line, fetched, scored by lm-eval, with baselines that can be counted."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llm_core.errors import UserError
from llm_core.evaluation.harness import score_benchmarks, summarize
from llm_core.evaluation.items import fetch_benchmarks
from llm_core.evaluation.own import own_items, read_questions
from llm_core.evaluation.own_scoring import exact_match, f1, regex
from llm_core.evaluation.stage import load
from llm_core.params import Params, validate
from llm_core.params.evaluation import Benchmarks, Evaluation, OwnBenchmark
from llm_core.params.external import external_inputs
from llm_core.params.sources import Network
from llm_core.params.task_files import read_task_file

QUIZ = [
    {"question": "Which one rusts?", "choices": ["iron", "light", "song"], "answer": "iron"},
    {"question": "Which one flows?", "choices": ["stone", "water"], "answer": "water"},
    {"question": "Which one is sweet?", "choices": ["sugar", "tin", "salt"], "answer": "sugar"},
    {"question": "Which one is loud?", "choices": ["dust", "a drum", "a wall", "a leaf"], "answer": "a drum"},
    {"question": "Which one grows?", "choices": ["a plant", "a coin"], "answer": "a plant"},
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def choice(path: Path, **rest: Any) -> OwnBenchmark:
    return OwnBenchmark(path=str(path), kind="multiple_choice", **rest)


def read(path: Path, **rest: Any) -> list[dict[str, Any]]:
    return list(read_questions("quiz", choice(path, **rest)))


def test_answers_are_texts_letters_or_positions_but_one_of_them_in_the_whole_file(tmp_path: Path) -> None:
    rows = [{"question": "a?", "choices": ["x", "y"]}, {"question": "b?", "choices": ["1", "0", "7"]}]
    for answers, wanted in ((["y", "0"], [1, 1]), (["B", "c"], [1, 2]), ([1, 0], [1, 0]), (["1", "2"], [1, 2])):
        file = write(tmp_path / "a.jsonl", [row | {"answer": one} for row, one in zip(rows, answers, strict=True)])
        assert [item["answer"] for item in read(file)] == wanted, answers
    file = write(tmp_path / "a.jsonl", [rows[0] | {"answer": "y"}, rows[0] | {"answer": "z"}])
    with pytest.raises(UserError, match=r"a\.jsonl:2: the answer 'z' is not among its 2 choices"):
        read(file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question": ""}, "q.jsonl:2: the question is empty"),
        ({"question": None}, "q.jsonl:2: the question is no text but null"),
        ({"choices": ["one"]}, r"q.jsonl:2: 1 choice\(s\)"),
        ({"choices": ["a", "a"]}, "q.jsonl:2: the choice 'a' is there twice"),
        ({"choices": "a, b"}, "q.jsonl:2: the choices are no list"),
        ({"id": "0"}, "q.jsonl:2: the id '0' is that of .*q.jsonl:1 already"),
        ({"answer": 5}, "q.jsonl:2: the answer 5 is not among"),
    ],
)
def test_a_wrong_row_is_named_by_its_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    rows = [{"id": str(number), **row} for number, row in enumerate(QUIZ)]
    rows[1] |= change
    with pytest.raises(UserError, match=said) as error:
        read(write(tmp_path / "q.jsonl", rows))
    assert "\n" not in str(error.value)


def test_tables_with_columns_of_their_own_names(tmp_path: Path) -> None:
    with open(tmp_path / "q.csv", "w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["q", "a", "b", "c", "right", "place"])
        rows.writerow(["Who?", "Ann", "Bob", "", "B", "Peru"])
        rows.writerow(["What?", "tin", "salt", "tea", "C", "Chad"])
    columns = {"question": "q", "choices": ["a", "b", "c"], "answer": "right"}
    found = read(tmp_path / "q.csv", columns=columns, prompt="In {{place}}: {{question}}")
    assert found == [
        {"id": "0", "question": "Who?", "place": "Peru", "choices": ["Ann", "Bob"], "answer": 1},
        {"id": "1", "question": "What?", "place": "Chad", "choices": ["tin", "salt", "tea"], "answer": 2},
    ]
    with pytest.raises(UserError, match=r"q\.csv:2: no column 'question' \(there are q, a, b, c, right, place\)"):
        read(tmp_path / "q.csv")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"path": "a.jsonl"}, "needs a `kind`"),
        ({"path": "a.yaml", "kind": "f1"}, "says its kind by itself"),
        ({"path": "a.jsonl", "kind": "regex"}, "pattern"),
        ({"path": "a.jsonl", "kind": "regex", "pattern": "("}, "no regular expression"),
        ({"path": "a.jsonl", "kind": "f1", "columns": {"choices": "c"}}, "no 'choices' in this kind"),
        ({"path": "a.jsonl", "kind": "f1", "code": True}, "`code` belongs to"),
    ],
)
def test_params_that_do_not_fit_are_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        OwnBenchmark.model_validate(values)


@pytest.mark.parametrize("name", ["arc_easy", "exact_match", "a b", "manifest"])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=r"another name|letters, digits"):
        Benchmarks.model_validate({"own": {name: {"path": "a.jsonl", "kind": "f1"}}})


@pytest.mark.slow
def test_the_name_of_a_task_of_lm_eval_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lm-eval-harness has a task 'blimp'"):
        own_items("blimp", choice(write(tmp_path / "q.jsonl", QUIZ)))


def test_what_an_answer_scores() -> None:
    doc = {"answers": ["The Hague", "Den Haag"]}
    assert exact_match(doc, ["the hague!"]) == {"exact_match": 1.0, "f1": 1.0}
    assert next(iter(f1(doc, ["Den Haag, of course"]).items())) == ("f1", pytest.approx(2 * 2 / (2 + 4)))
    assert (
        regex({"answers": ["42"]}, [" 42 "])["exact_match"] == 1.0 and regex(doc, ["the hague"])["exact_match"] == 0.0
    )


TASK = """
task: ignored
test_split: test
training_split: train
output_type: multiple_choice
doc_to_text: "{{asked}}"
doc_to_choice: ["yes", "no"]
doc_to_target: said
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
dataset_kwargs: {data_files: {test: task/test.csv, train: task/train.jsonl}}
"""


def fetched(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Benchmarks:
    """A folder with one own benchmark of each kind; the working folder is there."""
    monkeypatch.chdir(folder)
    write(folder / "quiz.jsonl", QUIZ)
    asked = [{"question": f"The {n}th word?", "answer": ["iron", "Iron"] if n % 2 else "it"} for n in range(5)]
    write(folder / "asked.jsonl", asked)
    (folder / "task").mkdir()
    (folder / "task/test.csv").write_text("asked,said\nis iron loud,1\nis water wet,0\nis sugar sweet,0\n")
    write(folder / "task/train.jsonl", [{"asked": "is salt sweet", "said": 1}])
    (folder / "task.yaml").write_text(TASK)
    own = {
        "own_quiz": {"path": "quiz.jsonl", "kind": "multiple_choice"},
        "own_asked": {"path": "asked.jsonl", "kind": "exact_match", "max_new_tokens": 4},
        "by_words": {"path": "asked.jsonl", "kind": "f1", "max_new_tokens": 4},
        "by_pattern": {"path": "asked.jsonl", "kind": "regex", "pattern": r"(\w+)", "max_new_tokens": 4},
        "task_file": {"path": "task.yaml"},
    }
    params = Benchmarks.model_validate({"tasks": [], "own": own})
    fetch_benchmarks(params, Network(), folder / "benchmarks")
    return params


@pytest.mark.slow
def test_own_benchmarks_are_fetched_and_scored_with_intervals_and_baselines(
    gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = fetched(tmp_path, monkeypatch)
    manifest = json.loads(Path("benchmarks/manifest.json").read_text())
    assert {name: entry["items"] for name, entry in manifest.items()} == {
        "own_quiz": 5, "own_asked": 5, "by_words": 5, "by_pattern": 5, "task_file": 3,
    }  # fmt: skip
    assert set(manifest["task_file"]["files"]) == {"task.yaml", "task/test.csv", "task/train.jsonl"}
    network, tokenizer = load(gpt2)
    for shots in (0, 1):
        chosen = Evaluation(tasks=list(params.own), num_fewshot=shots)
        scores = summarize(score_benchmarks(network, tokenizer, Path("benchmarks"), chosen))
        assert [score["metric"] for score in scores.values()] == ["acc", "exact_match", "f1", "exact_match", "acc"]
        for score in scores.values():
            assert score[f"{score['metric']}_low"] <= score[score["metric"]] <= score[f"{score['metric']}_high"]
        quiz = scores["own_quiz"]
        assert quiz["chance"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 3 + 1 / 4 + 1 / 2) / 5)
        assert quiz["majority"] == 3 / 5, "the first choice is right in three of five"
        assert (
            scores["own_asked"]["majority"]
            == scores["by_words"]["majority"]
            == scores["by_pattern"]["majority"]
            == 3 / 5
        )
        assert (scores["task_file"]["majority"], scores["task_file"]["chance"]) == (2 / 3, 1 / 2)
    with pytest.raises(UserError, match="'own_quiz' has 4 for each item"):
        score_benchmarks(network, tokenizer, Path("benchmarks"), Evaluation(tasks=["own_quiz"], num_fewshot=5))


def test_a_task_file_that_runs_code_is_refused_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched(tmp_path, monkeypatch)
    Path("utils.py").write_text("from pathlib import Path\nPath('ran').touch()\n\n\ndef ask(doc):\n    return 'x'\n")
    Path("base.yaml").write_text(TASK.replace('"{{asked}}"', "!function utils.ask"))
    Path("code.yaml").write_text("include: base.yaml\n")
    with pytest.raises(UserError, match=r"runs Python functions \(utils.ask\).*code: true"):
        own_items("own_code", OwnBenchmark(path="code.yaml"))
    assert not Path("ran").exists()
    assert len(own_items("own_code", OwnBenchmark(path="code.yaml", code=True)).items) == 3
    assert set(read_task_file(Path("code.yaml")).files) == {"code.yaml", "base.yaml", "utils.py"}
    Path("hub.yaml").write_text(
        TASK.replace("dataset_kwargs:", "unused:").replace("task: ignored", "dataset_path: x/y")
    )
    with pytest.raises(UserError, match="its items must be local files"):
        own_items("own_hub", OwnBenchmark(path="hub.yaml"))


def test_numbers_in_a_table_of_a_task_file_are_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched(tmp_path, monkeypatch)
    items = own_items("task_file", OwnBenchmark(path="task.yaml")).items
    assert items[0] == {"id": "0", "asked": "is iron loud", "said": 1}
    Path("task/test.csv").write_text("asked,said,share,sure\n1,007,0.5,True\nb,1,2,false\n")
    items = own_items("task_file", OwnBenchmark(path="task.yaml")).items
    assert items[0] == {"id": "0", "asked": "1", "said": 7, "share": 0.5, "sure": True}


def test_the_files_are_inputs_that_no_stage_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = fetched(tmp_path, monkeypatch).own
    params = Params.model_validate({"evaluation": {"benchmarks": {"own": {n: own[n].model_dump() for n in own}}}})
    listed = external_inputs(params)["benchmarks"]
    assert set(listed) == {"quiz.jsonl", "asked.jsonl", "task.yaml", "task/test.csv", "task/train.jsonl"}


def test_an_unknown_column_in_params_is_one_line() -> None:
    values = {"evaluation": {"benchmarks": {"own": {"q": {"path": "a.jsonl", "kind": "f1", "columns": {"zz": "b"}}}}}}
    with pytest.raises(UserError, match="columns: no 'zz' in this kind") as error:
        validate(values, "params.yaml")
    assert "\n" not in str(error.value)
