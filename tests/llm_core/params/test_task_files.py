"""A task file of lm-eval-harness is another person's file: whatever is in it gives one line, soon, and runs nothing."""

import os
import time
from pathlib import Path

import pytest

from llm_core.errors import UserError
from llm_core.evaluation.own import own_items
from llm_core.params.evaluation import OwnBenchmark
from llm_core.params.task_files import read_task_file, task_files

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LAUGHS, "more than 1,000,000 values, its aliases written out"),
        ("x: &x [*x]\n", "the alias .x is within what it names"),
        ("x: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("x: [\n", "not valid YAML"),
        ("x: 2020-13-45\n", "not valid YAML .month must be in 1..12"),
        (f"x: {'9' * 6000}\n", "not valid YAML .Exceeds the limit"),
        ('include: "a\\0b"\n', "include: .* is no path"),
        ("include: {a: b}\n", "include: .* is no path"),
        (f"include: {'a' * 5000}\n", "File name too long"),
        ("dataset_kwargs: 5\n", "dataset_kwargs must be a mapping"),
        ("dataset_kwargs: {data_files: 5}\n", "data_files: 5 is no path"),
        ("dataset_kwargs: {data_files: {test: [a, {b: c}]}}\n", "data_files: {'b': 'c'} is no path"),
    ],
)
def test_a_task_file_that_cannot_be_used_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "task.yaml"
    file.write_text(text)
    began = time.process_time()
    with pytest.raises(UserError, match=words):
        read_task_file(file)
    assert task_files(file) == [str(file)]  # every verb that lists the inputs of the stages reads the file
    assert time.process_time() - began < 20


@pytest.mark.parametrize("value", ["!!bool maybe", '!!int ""', '!!int "-"', '!!float ""', "!!timestamp x"])
def test_a_value_that_is_not_of_its_tag_is_one_line(tmp_path: Path, value: str) -> None:
    (tmp_path / "task.yaml").write_text(f"task: mine\na: {value}\n")
    with pytest.raises(UserError, match="not valid YAML"):
        read_task_file(tmp_path / "task.yaml")
    assert task_files(tmp_path / "task.yaml") == [str(tmp_path / "task.yaml")]


def test_a_pipe_is_no_task_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "task.yaml")
    with pytest.raises(UserError, match="not a file"):
        read_task_file(tmp_path / "task.yaml")


def test_a_task_file_is_no_large_file(tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    file.write_text("#" * (17 << 20))
    with pytest.raises(UserError, match="larger than 16 MiB"):
        read_task_file(file)


def test_includes_that_multiply_are_refused(tmp_path: Path) -> None:
    for level in range(12):
        (tmp_path / f"{level}.yaml").write_text(f"include: [{level + 1}.yaml, ./{level + 1}.yaml]\n")
    (tmp_path / "12.yaml").write_text("task: a\n")
    with pytest.raises(UserError, match=r"0\.yaml: includes more than 200 files"):
        read_task_file(tmp_path / "0.yaml")
    assert read_task_file(tmp_path / "7.yaml").config == {"task": "a"}


@pytest.mark.parametrize(
    "text",
    ["x: !function a.b\n", "? !function a.b\n: 2\n", "x: !!set {!function a.b}\n", "x: !!pairs [y: !function a.b]\n",
     "x: !function a.b\nx: 1\n"],
)  # fmt: skip
def test_a_function_is_seen_wherever_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text("")
    Path("task.yaml").write_text(text)
    task = read_task_file(Path("task.yaml"))
    assert (task.functions, task.files) == (["a.b"], ["task.yaml", "a.py"])
    with pytest.raises(UserError, match=r"runs Python functions \(a\.b\)"):
        own_items("mine", OwnBenchmark(path="task.yaml"))


def test_a_file_of_items_with_an_impossible_name_is_no_file(tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    name = "a" * 5000
    file.write_text(
        f"task: mine\ntest_split: test\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {name}}}}}\n"
        "output_type: generate_until\ndoc_to_text: q\ndoc_to_target: a\nmetric_list: [{metric: exact_match}]\n"
    )
    assert task_files(file) == sorted([str(file), str(tmp_path / name)])
    with pytest.raises(UserError, match="which is no file"):
        own_items("mine", OwnBenchmark(path=str(file)))
