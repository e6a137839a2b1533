"""`llm-core init` says what it finds in a folder of documents."""

import gzip
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from llm_core.cli.init import app
from llm_core.cli.inputs import app as inputs
from llm_core.errors import UserError
from llm_core.evaluation.gate import gate_of
from llm_core.models.scale import shape
from llm_core.params import load, validate
from llm_core.training.pretraining.origins import parent_config
from llm_core.training.pretraining.phases import plan_phases
from tests.llm_core.open_model_folders import make

PRESETS = Path(__file__).parents[3] / "presets"


def test_files_are_counted_by_kind_and_those_not_read_by_reason(tmp_path: Path) -> None:
    folder = tmp_path / "my notes"
    folder.mkdir()
    for name in ("a.md", "b.MD", "c.txt", "d.xlsx", "e.xlsx", ".hidden.md", "f.pdf"):
        (folder / name).write_text("text")
    (folder / "g.tar.gz").write_bytes(gzip.compress(b""))
    out = tmp_path / "params.yaml"
    done = CliRunner().invoke(app, ["--documents", str(folder), "--out-file", str(out)])
    assert done.exit_code == 0, done.output
    assert f"{folder}: 2 .md, 1 .pdf, 1 .tar.gz, 1 .txt; not read: 1 hidden name, 2 other ending .xlsx" in done.output
    assert out.is_file()


def test_names_that_yaml_reads_as_numbers_or_nothing_are_names(tmp_path: Path) -> None:
    for name in ("2024", "null", "true", "1e5"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("text")
    out, rows = tmp_path / "params.yaml", tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "a", "output": "b"}\n')
    given = [part for name in ("2024", "null", "true", "1e5") for part in ("--documents", str(tmp_path / name))]
    done = CliRunner().invoke(app, [*given, "--finetune", f"7=instruction:{rows}", "--out-file", str(out)])
    assert done.exit_code == 0, done.output
    params = load(out)
    assert list(params.sources) == ["2024", "null", "true", "1e5"]
    assert list(params.finetuning.runs) == list(params.retrieval.questions) == ["7"]


def test_a_folder_of_which_nothing_is_read_is_refused_before_a_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "sheets").mkdir()
    (tmp_path / "sheets/a.xlsx").write_text("x")
    out = tmp_path / "params.yaml"
    with pytest.raises(
        UserError, match=r"sheets: holds no file that is read \(1 other_ending \.xlsx\); docs/how-to/sources\.md lists"
    ):
        CliRunner().invoke(
            app, ["--documents", str(tmp_path / "sheets"), "--out-file", str(out)], catch_exceptions=False
        )
    assert not out.exists()


def test_what_is_not_given_is_asked_for_in_a_terminal_and_missed_without_one(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/a.txt").write_text("text")
    command = [sys.executable, "-m", "llm_core.cli", "init"]
    environment = os.environ | {"PYTHONPATH": str(PRESETS.parent)}
    ours, theirs = pty.openpty()
    running = subprocess.Popen(command, cwd=tmp_path, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    for question, answer in ((b"documents: ", b"notes\n"), (b"licence [private]: ", b"CC0-1.0\n")):
        while question not in shown:
            shown += os.read(ours, 4096)  # raises OSError where the process ends without the question
        os.write(ours, answer)
    assert running.wait(60) == 0
    os.close(ours)
    (source,) = yaml.safe_load((tmp_path / "params.yaml").read_text())["sources"].values()
    assert (source["paths"], source["license"]) == (["notes"], "CC0-1.0")
    done = subprocess.run(command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True)
    assert done.returncode == 1 and b"--documents is missing" in done.stderr


@pytest.mark.parametrize(
    "name", ["it's: a #\n doc", "x\nnetwork: {cache: elsewhere}", "\x85\u2028\x7f", "{a}: [b", "\x1b[31m"]
)
def test_a_path_and_a_licence_of_any_letters_add_nothing_to_the_params(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "a.txt").write_text("text")
    out = tmp_path / "params.yaml"
    given = ["--documents", str(folder), "--license", name, "--out-file", str(out)]
    assert CliRunner().invoke(app, given, catch_exceptions=False).exit_code == 0
    values = yaml.safe_load(out.read_text())
    (source,) = values["sources"].values()
    assert source["paths"] == [str(folder)] and source["license"] == name
    assert "network" not in values


@pytest.mark.parametrize(
    "more, message",
    [
        (["--model", "{0}/a.txt"], "is no model's folder"),
        (["--model", "{0}"], r"has no config\.json"),
        (["--model", "{0}/broken"], r"its config\.json is no model's"),
        (["--documents", "{0}/a.txt"], "given twice"),
        (["--finetune", "base=classification:{0}/rows.csv"], "'base' is the pretrained model"),
    ],
)
def test_what_is_no_model_and_a_name_that_is_taken_are_refused(tmp_path: Path, more: list[str], message: str) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "rows.csv").write_text("text,label\nx,1\ny,2\n")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/config.json").write_text("[1")
    given = ["--documents", str(tmp_path / "a.txt"), "--out-file", str(tmp_path / "params.yaml")]
    with pytest.raises(UserError, match=message):
        CliRunner().invoke(app, [*given, *(word.format(tmp_path) for word in more)], catch_exceptions=False)
    assert not (tmp_path / "params.yaml").exists()


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_position_embeddings": 32768}, 256),
        ({"n_positions": 100}, 64),
        ({"text_config": {"max_position_embeddings": 128}}, 128),
        ({}, 256),
    ],
)
def test_rows_are_no_longer_than_a_models_positions(tmp_path: Path, config: dict[str, object], length: int) -> None:
    model = tmp_path / "Größe"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(config))
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "rows.csv").write_text("text,label\nx,1\ny,2\n")
    out = tmp_path / "params.yaml"
    given = ["--documents", str(tmp_path / "a.txt"), "--model", str(model), "--out-file", str(out)]
    given += ["--finetune", f"mood=classification:{tmp_path}/rows.csv"]
    assert CliRunner().invoke(app, given, catch_exceptions=False).exit_code == 0
    values = yaml.safe_load(out.read_text())
    assert list(values["open_models"]) == ["grosse"]
    assert values["pretraining"]["sequence_length"] == values["finetuning"]["runs"]["mood"]["max_length"] == length


def test_an_encoder_is_not_evaluated_as_a_language_model(tmp_path: Path) -> None:
    model = tmp_path / "bert"
    model.mkdir()
    (tmp_path / "a.txt").write_text("text")
    given = ["--documents", str(tmp_path / "a.txt"), "--model", str(model), "--out-file"]
    for number, (architecture, models) in enumerate((("BertForMaskedLM", []), ("GPT2LMHeadModel", ["base"]))):
        (model / "config.json").write_text(json.dumps({"architectures": [architecture]}))
        out = tmp_path / f"{number}.yaml"
        assert CliRunner().invoke(app, [*given, str(out)], catch_exceptions=False).exit_code == 0
        assert yaml.safe_load(out.read_text())["evaluation"]["models"] == models


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_preset_does_not_contradict_the_model_that_is_continued(tmp_path: Path, preset: Path) -> None:
    model = make("gpt2", tmp_path / "gpt2")
    (tmp_path / "a.txt").write_text("text " * 400_000)
    out = tmp_path / "params.yaml"
    given = ["--documents", str(tmp_path / "a.txt"), "--preset", str(preset), "--out-file", str(out)]
    assert CliRunner().invoke(app, [*given, "--model", str(model)], catch_exceptions=False).exit_code == 0
    params, processes = load(out), max(load(preset).launch.pretraining.processes, 1)
    settings = params.pretraining
    assert parent_config(model, params.model, settings.longest_sequence).n_positions == 128
    assert nulls(yaml.safe_load(out.read_text())["pretraining"]) == []
    assert (settings.steps or 0) <= 320 or load(preset).pretraining.steps
    assert settings.optimizer.learning_rate == 0.0003 and settings.precision == "bf16"
    assert settings.batch_tokens and settings.batch_tokens >= 4096 and settings.steps
    plan = plan_phases(settings, settings.batch_tokens, settings.steps, processes)
    assert plan.tokens <= 4.1 * 2_000_000 / 3.5 or settings.steps == 40, "four passes over the corpus"


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("*.yaml")), ids=lambda file: file.stem)
def test_a_model_of_a_preset_has_the_presets_size_and_no_comment_on_another(tmp_path: Path, preset: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    out = tmp_path / "params.yaml"
    given = ["--documents", str(tmp_path / "a.txt"), "--preset", str(preset), "--out-file", str(out)]
    assert CliRunner().invoke(app, given, catch_exceptions=False).exit_code == 0
    params, wanted, text = load(out), load(preset), out.read_text()
    assert shape(params.model) == shape(wanted.model) and params.pretraining.steps == wanted.pretraining.steps
    assert params.pretraining.optimizer.learning_rate == wanted.pretraining.optimizer.learning_rate
    values = yaml.safe_load(text)
    assert nulls(values["model"]) == nulls(values["pretraining"]) == []
    assert "two CPU cores" not in text and "320 steps" not in text


def test_a_null_that_means_nothing_in_a_preset_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "mine.yaml").write_text("preset: mine\npretraining: {micro_batch: null}\n")
    given = ["--documents", str(tmp_path / "a.txt"), "--preset", str(tmp_path / "mine.yaml")]
    with pytest.raises(UserError, match=r"mine\.yaml: 'pretraining\.micro_batch': input should be"):
        CliRunner().invoke(app, [*given, "--out-file", str(tmp_path / "params.yaml")], catch_exceptions=False)


def nulls(values: dict[str, Any]) -> list[str]:
    """Names of what is null in a section and in those below it."""
    below = [name for value in values.values() if isinstance(value, dict) for name in nulls(value)]
    return [name for name, value in values.items() if value is None] + below


def test_the_gate_of_an_encoder_decoder_is_on_a_benchmark_that_it_is_scored_on(tmp_path: Path) -> None:
    model = make("t5", tmp_path / "t5")
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "quiz.jsonl").write_text('{"question": "a?", "answer": "b"}\n')
    given = ["--documents", str(tmp_path / "a.txt"), "--model", str(model)]
    for more, metric in (([], "arc_easy"), (["--benchmark", f"quiz={tmp_path}/quiz.jsonl"], "quiz")):
        out = tmp_path / f"{metric}.yaml"
        done = CliRunner().invoke(app, [*given, *more, "--out-file", str(out)], catch_exceptions=False)
        assert done.exit_code == 0
        params = load(out)
        assert params.evaluation.models == ["base"] and gate_of("base", params).metrics == [metric]
        assert metric in params.evaluation.tasks, "evaluate gives it no bits per byte"


def test_a_benchmark_that_is_scored_and_not_fetched_stops_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("evaluation: {tasks: [piqa, quiz], benchmarks: {tasks: [piqa]}}\n")
    with pytest.raises(UserError, match=r"evaluation.tasks: 'quiz' is not fetched; .* \(fetched are piqa\)"):
        CliRunner().invoke(inputs, ["--out", "inputs"], catch_exceptions=False)
    assert not Path("inputs").exists()


def test_an_open_model_and_a_finetune_of_one_name_are_refused() -> None:
    run = {"method": "classification", "parent": "base", "data": {"path": "rows.csv"}}
    values = {"open_models": {"mood": {"from": "folder"}}, "finetuning": {"runs": {"mood": run}}}
    with pytest.raises(UserError, match="is an open model and a finetune"):
        validate(values, Path("params.yaml"))
