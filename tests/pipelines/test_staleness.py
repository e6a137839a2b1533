"""`dvc status` and Dagster agree on what is stale, edit by edit."""

import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from tests.pipelines import toy_project as toy
from tests.pipelines.dagster_view import mirror, stale


def param(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: toy.edit(folder, "params.yaml", old, new)


def graph(old: str, new: str) -> Callable[[Path], None]:
    return lambda folder: toy.edit(folder, "dvc.yaml", old, new)


def append(file: str, text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        with open(folder / file, "a") as stream:
            stream.write(text)

    return write


def delete(path: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / path)


def forget_stage(folder: Path) -> None:
    before, _, after = (folder / "dvc.lock").read_text().partition("  report:\n")
    (folder / "dvc.lock").write_text(before + after[after.index("  slow:\n") :])


def edit_then_run_one(folder: Path) -> None:
    param("min_length: 2", "min_length: 3")(folder)
    toy.repro(folder, "--single-item", "long@a")


LONG = {"long@a", "long@b"}
EDITS: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "nothing": (lambda folder: None, set()),
    "a threshold": (param("min_length: 2", "min_length: 3"), LONG),
    "a param of one item of a foreach": (param("words: 12", "words: 13"), {"words@a"}),
    "a new key in a section that stages read": (param("min_length: 2}", "min_length: 2, strict: true}"), LONG),
    "a param that no stage reads": (param("title: toy", "title: toy\nunused: 1"), set()),
    "a comment in params.yaml": (param("title: toy", "title: toy # a title"), set()),
    "the same number written otherwise": (param("min_length: 2", "min_length: 2.0"), set()),
    "a comment in code": (append("code/stage.py", "# done\n"), {"words@a", "words@b", *LONG}),
    "a new file in a code folder": (append("code/other.py", "x = 1\n"), LONG),
    "an ignored file in a code folder": (append("code/__pycache__/stage.pyc", "x"), set()),
    "a touched file": (lambda folder: (folder / "code" / "stage.py").touch(), set()),
    "a command": (graph("join data/join", "join  data/join"), {"join"}),
    "a description": (graph("desc: Each word once", "desc: Every word once"), set()),
    "a deleted output": (delete("data/join/documents"), {"join", "report", "slow"}),
    "one byte of an output": (append("data/long/a/documents/words.txt", "!"), {"long@a", "join"}),
    "a metric that nothing reads": (append("data/raw/a/metrics.json", " "), {"words@a"}),
    "a stray file in a folder that a stage reads": (append("data/long/stray.txt", "x"), {"join"}),
    "a new source": (param("b: {words: 5}", "b: {words: 5}\n  c: {words: 3}"), {"words@c", "long@c"}),
    "a source less": (param("  b: {words: 5}\n", ""), set()),
    "a new dep on code": (
        graph("    params: [title]\n    deps: [", "    params: [title]\n    deps: [code, "),
        {"report"},
    ),
    "a new dep on an output": (
        graph("    params: [title]\n    deps: [", '    params: [title]\n    deps: ["data/raw/a/documents", '),
        {"report"},
    ),
    "a lost cache": (delete(".dvc/cache"), {"words@a", "words@b", *LONG, "join", "report", "slow"}),
    "an entry gone from dvc.lock": (forget_stage, {"report"}),
    "the same bytes made again": (lambda folder: toy.repro(folder, "--single-item", "--force", "words@a"), set()),
    "an edit, and one of its stages run": (edit_then_run_one, {"long@b", "join"}),
}


def dvc_status(folder: Path) -> set[str]:
    """Stages that `dvc status` reports as changed."""
    from dvc.repo import Repo

    with Repo(str(folder)) as repo:
        return {target.rpartition(":")[2] for target in repo.status()}


@pytest.mark.slow
@pytest.mark.parametrize("name", EDITS)
def test_agreement(
    name: str,
    reproduced: Path,
    instance: dg.DagsterInstance,
    definitions: Callable[[Path], dg.Definitions],
) -> None:
    edit, expected = EDITS[name]
    mirror(reproduced, instance)
    edit(reproduced)
    mirror(reproduced, instance)
    assert dvc_status(reproduced) == expected, "what DVC says"
    assert stale(definitions(reproduced), instance) == expected, "what Dagster says"
    assert mirror(reproduced, instance) == [], "a second look finds nothing new"
