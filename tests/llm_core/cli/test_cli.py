"""The command line: help for every verb, one clear line for each error that a user can correct."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from llm_core.cli import VERBS, explain, main
from llm_core.cli.params import describe
from llm_core.params import load
from llm_core.params.finetuning import methods, run_type

ROOT = Path(__file__).parents[3]
WITHOUT_KNOBS = {
    "core",
    "signal",
    "gc",
    "merge",
    "init",
    "plan",
    "watch",
    "classify",
    "chat",
    "rewrite",
    "tag",
    "answer",
    "export-gguf",
    "inspect",
    "preset",
    "documents",
}  # what they do depends on no param


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "llm_core.cli", *arguments], capture_output=True, text=True, cwd=ROOT)


def test_help_names_every_verb_without_importing_a_room():
    code = "import sys; from llm_core.cli import main; main(['--help']); print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    *text, modules = printed.splitlines()
    assert all(any(verb in line for line in text) for verb in VERBS)
    assert not {"torch", "pyarrow", "pydantic", "typer"} & set(modules.split())


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_teaches(verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code in (0, None)
    printed = capsys.readouterr().out
    assert f"llm-core {verb}" in printed
    assert ("--params" in printed) is (verb not in WITHOUT_KNOBS)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("parms",), 2, "did you mean 'params'"),
        (("params", "--params", "absent.yaml"), 1, "no such params file"),
        (("params", "--set", "network.retrys=3"), 1, "unknown key 'network.retrys'"),
        (
            ("merge", "one", "two", "--out", "three", "--weight", "inf", "--weight", "1"),
            1,
            "--weight inf: give a finite",
        ),
        (("merge", "one", "two", "--out", "three", "--ema", "nan"), 1, "--ema nan: give a finite number"),
    ],
)
def test_errors_are_one_line(arguments, code, told):
    done = run(*arguments)
    assert done.returncode == code
    assert done.stderr.count("\n") == 1
    assert told in done.stderr


@pytest.mark.parametrize("verb", ["dedup", "dedup-text", "decontaminate", "split"])
@pytest.mark.parametrize("name", ["empty.jsonl", "empty.parquet"])
def test_no_documents_at_all_is_one_line_and_no_output(verb, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    (tmp_path / "items.txt").write_text("eight words or more are what an item needs here\n")
    (tmp_path / "params.yaml").write_text("{}")
    extra = ["--benchmarks", "items.txt"] if verb == "decontaminate" else []
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--in", name, "--out", "out", *extra])
    assert stopped.value.code == 1 and not (tmp_path / "out").exists()
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith(f"llm-core: error: {name}: ")


@pytest.mark.parametrize(
    ("content", "arguments", "told"),
    [
        (b"seed: 1 # caf\xe9\n", (), "not UTF-8"),
        (b"seed: \0\n", (), "not valid YAML"),
        (b"seed: 1\nseed: 2\n", (), "duplicate key"),
        (b"seed: 1\n", ("--set", "cleaning.steps=[repair"), "not valid YAML"),
        (b"seed: 1\n", ("--set", ".=1"), "KEY=VALUE"),
        (b"pretraining: {threads: 2}\n", (), "launch.pretraining.threads"),
        (b"cleaning: {workers: 2}\n", (), "launch.cleaning.workers"),
        (b"[" * 100_000, (), "not valid YAML"),
    ],
)
def test_a_broken_params_file_is_one_line(content, arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(SystemExit) as stopped:
        main(["params", *arguments])
    error = capsys.readouterr().err
    assert stopped.value.code == 1 and error.count("\n") == 1 and told in error


def test_in_an_empty_folder_the_defaults_hold_and_a_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["params", "pretraining"])
    printed = capsys.readouterr()
    assert not stopped.value.code and "pretraining.steps" in printed.out
    assert "the defaults hold" in printed.err and printed.err.count("\n") == 1


def test_every_knob_is_printed_also_of_kinds_that_are_not_in_use(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["params"])
    printed = capsys.readouterr().out
    for knob in ("sources.<common_crawl>.crawl", "cleaning.recipes.<c4>.min_num_sentences", "launch.cleaning.workers"):
        assert f"{knob} = " in printed, knob


def test_every_knob_has_a_meaning_that_can_be_read_alone():
    lines = [line for line in describe(load(ROOT / "params.yaml")) if " entries" not in line]
    for name in methods():
        lines += describe(run_type(name)(), f"finetuning.runs.<{name}>.")
    meaning = re.compile(
        r"\S+ = .*\]  (?!(Most|Least|Fewest|Largest|Smallest|Longest|Shortest|How many|Its|It|Of them) )\S.*\w.*"
    )
    assert [line for line in lines if not meaning.fullmatch(line)] == []


def test_text_on_standard_input_that_is_not_utf8_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\n\xff\n"), "utf-8", "surrogateescape"))
    with pytest.raises(SystemExit, match="1"):
        main(["rewrite", "--model", "nowhere"])
    assert "cannot be written or read as UTF-8" in capsys.readouterr().err


def test_a_closed_pipe_is_no_traceback():
    command = f"{sys.executable} -m llm_core.cli params | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.startswith("seed") and not done.stderr


@pytest.mark.parametrize("by", ["numpy", "torch", "safetensors"])
def test_a_file_that_cannot_be_written_whole_is_a_line(tmp_path, by):
    """A checkpoint and a model, too: their libraries raise no error of the system."""
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path]).returncode:
        pytest.skip("needs the right to mount a small disk")
    try:
        with pytest.raises(Exception) as caught, open(tmp_path / "keys", "ab") as file:
            if by == "numpy":
                np.arange(100_000).tofile(file)
            elif by == "torch":
                torch.save(torch.zeros(100_000), "/dev/full")  # on the small disk torch would keep its file open
            else:
                save_file({"weight": torch.zeros(100_000)}, tmp_path / "model.safetensors")
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    assert getattr(caught.value, "errno", None) is None
    assert "is the disk full? Nothing half-written was left" in str(explain(caught.value))
    assert explain(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
