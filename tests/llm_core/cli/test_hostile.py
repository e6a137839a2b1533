"""Every verb on malformed files: one line and an exit code, no traceback, no signal, no silent success.

Verbs and their options are found on the command line, so that a new verb cannot escape. The default run gives each
path option the whole folder, a path where nothing is, and some of the files in turn; the slow one gives each verb a
file of each kind of trouble, at one of its path options.
"""

import importlib
import json
import os
import shutil
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from llm_core.cli import VERBS
from tests.llm_core.cli import hostile
from tests.llm_core.cli.forking import Server
from tests.llm_core.tiny_gpt2 import make as make_model
from tests.llm_core.training.pretraining import tiny

SECONDS = 60
IN_TURN = 1  # files of the folder that each path option is given in the default run
PARAMS = "seed: 1\nretrieval: {encoder: none}\npretraining: {steps: 2}\n"
SOUND = {  # what the other options of a verb are given: something that is right, or at least of the right kind
    "--in": "docs", "--good": "docs", "--random": "docs", "--given": "docs/a.jsonl", "--reference": "docs/a.jsonl",
    "--benchmarks": "docs/a.jsonl", "--questions": "docs/a.jsonl", "--tokens": "tokens", "--tokenizer": "tokenizer",
    "--model": "model", "--data": "docs", "--index": "docs", "--params": "params.yaml", "--evaluation": "docs",
    "--prompt": "a", "--reason": "asked", "--change": "seed=2", "--recipe": "gopher_quality", "--out": "out",
    "--out-file": "out", "--rows": "docs",
    "question": "what is it", "kind": "summarization", "method": "classify", "source": "s", "first": "docs",
    "second": "docs", "before": "docs", "after": "docs",
}  # fmt: skip
TOGETHER = {  # options that need none of the others, but at least one of which a verb needs
    "takedown": {"--id": "d1", "--reason": "asked"}, "trace": {"--id": "d1"}, "classify": {"--text": "a"},
    "rewrite": {"--text": "a"},
    "agent": {"question": "what is it"},
}  # fmt: skip
PATHS = {"--in", "--good", "--random", "--given", "--reference", "--model", "first", "second", "before", "after"}
EMPTY_FILES = {"empty.jsonl", "empty.parquet", "nothing.txt"}  # all settings at their defaults; no tombstones
SOUND_FILES = {"it's a\nname.jsonl", "long.jsonl", os.fsdecode(b"caf\xe9.jsonl"), "surrogate.jsonl"}
Results = list[tuple[list[str], dict[str, Any]]]
Run = Callable[[list[list[str]]], Results]


def options(verb: str) -> list[tuple[str, bool, bool]]:
    """(option or argument, whether it is required, whether it names a file or folder) of a verb."""
    command = typer.main.get_command(importlib.import_module(f"llm_core.cli.{VERBS[verb][0]}").app)
    found = []
    for parameter in command.params:
        name = parameter.opts[0] if parameter.opts else parameter.name
        described = getattr(parameter, "type_descriptor", None)
        is_path = name in PATHS or "Path" in str(getattr(described, "annotation", ""))
        found.append((str(name), parameter.required, is_path))
    return found


def command_line(verb: str, hostile_option: str, value: str) -> list[str]:
    line = [verb]
    for name, required, _ in options(verb):
        chosen = TOGETHER.get(verb, {}).get(name)
        given = value if name == hostile_option else SOUND.get(name, "x") if required else chosen
        if given is not None:
            line += [name, given] if name.startswith("--") else [given]
    return line


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    tiny.make(folder)
    make_model(folder / "model")
    (folder / "docs").mkdir()
    rows = [{"id": f"d{n}", "source": "s", "text": f"{n} {hostile.TEXT} {n**5}"} for n in range(40)]
    (folder / "docs/a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "params.yaml").write_text(PARAMS)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return hostile.make(tmp_path_factory.mktemp("hostile") / "files")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as started:
        yield started


@pytest.fixture
def ran(server: Server, work: Path) -> "Run":
    """Run command lines in `work`, each without what the one before left."""

    def run(line: list[str]) -> dict[str, Any]:
        shutil.rmtree(work / "out", ignore_errors=True)
        (work / "out").unlink(missing_ok=True)
        return server.run({"arguments": line, "folder": str(work), "seconds": SECONDS})

    return lambda lines: [(line, run(line)) for line in lines]


def fault(outcome: dict[str, Any]) -> str | None:
    """What is wrong with the way in which a verb refused, None where nothing is."""
    code, error = outcome["code"], outcome["stderr"]
    lines = error.strip().splitlines() or [""]
    if code is None:
        return f"takes more than {SECONDS} s"
    if "Traceback" in error or code < 0 or code not in (0, 1, 2):
        return f"code {code}: {error[-800:]}"
    if code == 0:
        return "succeeds"
    if code == 1 and not lines[-1].startswith("llm-core: error: "):
        return f"no error on its last line: {error[-300:]}"
    return None


def check(results: Results, may_succeed: Container[str] = ()) -> None:
    bad = []
    for line, outcome in results:
        names = [Path(word).name for word in line]
        sound = any(name in may_succeed for name in names) or (
            "--takedowns" in line and names[line.index("--takedowns") + 1] in EMPTY_FILES
        )
        what = fault(outcome)
        if what and not (sound and what == "succeeds"):
            bad.append(f"{line} {what}")
    assert not bad, "\n".join(bad)


def path_options() -> list[tuple[str, str]]:
    skipped = ("--out", "--out-file", "--params")  # below
    return [(verb, name) for verb in VERBS for name, _, is_path in options(verb) if is_path and name not in skipped]


def test_every_verb_refuses_hostile_inputs_in_one_line(ran: Run, work: Path, files: list[Path]) -> None:
    lines = []
    for number, (verb, name) in enumerate(path_options()):
        turn = [files[(number * IN_TURN + place) % len(files)] for place in range(IN_TURN)]
        lines += [command_line(verb, name, str(path)) for path in (*turn, files[0].parent, work / "missing")]
    check(ran(lines), SOUND_FILES)


def test_every_hostile_file_has_a_kind(files: list[Path]) -> None:
    assert sorted(name for names in hostile.KINDS.values() for name in names) == sorted(path.name for path in files)


def covering(files: list[Path], verb: str) -> list[list[str]]:
    """Command lines that give a verb each kind of trouble once: its path options and the files of a kind take turns."""
    names = [name for other, name in path_options() if other == verb]
    verbs = list(dict.fromkeys(other for other, _ in path_options()))
    by_name = {path.name: path for path in files}
    lines = []
    for number, kind in enumerate(hostile.KINDS.values() if names else ()):
        turn = number + verbs.index(verb)
        lines.append(command_line(verb, names[turn % len(names)], str(by_name[kind[turn % len(kind)]])))
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("verb", dict.fromkeys(verb for verb, _ in path_options()))
def test_each_kind_of_trouble_in_each_verb(ran: Run, files: list[Path], verb: str) -> None:
    check(ran(covering(files, verb)), SOUND_FILES)


def test_every_verb_refuses_params_that_are_none(ran: Run, files: list[Path]) -> None:
    lines = []
    for number, verb in enumerate(verb for verb in VERBS if "--params" in [name for name, *_ in options(verb)]):
        hurt = next(path for path in files if path.name == "latin.jsonl")
        lines += [command_line(verb, "--params", str(path)) for path in (hurt, files[number % len(files)])]
    check(ran(lines), EMPTY_FILES)


def test_no_verb_takes_an_address_for_a_local_path(ran: Run, work: Path) -> None:
    """What is read through fsspec takes `memory://…` as an address, where nothing is; every other option refuses it."""
    verbs = [(verb, name) for verb in VERBS for name, _, is_path in options(verb) if is_path]
    results = ran([command_line(verb, name, "memory://bucket/folder") for verb, name in verbs])
    check(results)
    for (_, name), (line, outcome) in zip(verbs, results, strict=True):
        told = outcome["stderr"].splitlines()[-1]
        if name in ("--out", "--out-file", "--params", "--model", "--tokenizer", "--tokens", "--data"):
            assert "memory:/" in told and "local" in told, (line, told)
    assert not (work / "memory:").exists()


def test_every_verb_refuses_an_output_below_a_file(ran: Run, work: Path) -> None:
    outputs = [(v, name) for v in VERBS for name, *_ in options(v) if name in ("--out", "--out-file")]
    check(ran([command_line(verb, name, "params.yaml/out") for verb, name in outputs]))
    assert (work / "params.yaml").read_text() == PARAMS


def test_every_verb_refuses_settings_that_do_not_exist(ran: Run) -> None:
    verbs = [verb for verb in VERBS if "--set" in [name for name, *_ in options(verb)]]
    wrong = ("no.such.key=1", "seed", "seed=[", "=", "seed.deeper=1", "cleaning=no", "seed=\udcff")
    lines = [command_line(verb, "--set", wrong[n % len(wrong)]) for n, verb in enumerate(verbs)]
    check(ran(lines + [command_line("clean", "--set", value) for value in wrong]))


def test_serve_refuses_ports_that_do_not_exist(ran: Run) -> None:
    check(ran([["serve", "--model", "model", "--port", port] for port in ("99999", "-1", "many")]))


def test_an_output_inside_a_folder_that_is_read_whole_is_refused(ran: Run, work: Path) -> None:
    read_whole = {"--in", "--good", "--random"}
    lines = [
        [*command_line(verb, name, "docs"), "--out", "docs/out"]
        for verb in VERBS
        for name, required, _ in options(verb)
        if name in read_whole and required
    ]
    assert len(lines) > 10
    check(ran(lines))
    assert not (work / "docs/out").exists()
