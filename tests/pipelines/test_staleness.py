"""`dvc status`, `llm-core plan` and Dagster agree on what is stale, edit by edit."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from pipelines.plan import plan
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


def edit_then_run_all(folder: Path) -> None:
    param("min_length: 2", "min_length: 3")(folder)
    toy.repro(folder)


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


SIDE = "experiments/side/dvc.yaml"
SORTED = {f"{SIDE}:sorted@a", f"{SIDE}:sorted@b"}
EXPERIMENT_EDITS: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "no edit": (lambda folder: None, set()),
    "a param that both graphs read": (param("title: toy", "title: game"), {"report", *SORTED}),
    "a param of the default graph above": (param("min_length: 2", "min_length: 3"), LONG),
    "that edit, and the default graph run": (edit_then_run_all, SORTED),
    "a param of a stage with a folder of its own": (param("steps: 0", "steps: 1"), {"slow", f"{SIDE}:report"}),
    "an output above deleted": (delete("data/long/a/documents"), {"long@a", "join", f"{SIDE}:sorted@a"}),
    "its own output deleted": (delete("data/sorted/b"), {f"{SIDE}:sorted@b", f"{SIDE}:report"}),
    "a command of its file": (
        lambda folder: toy.edit(folder, SIDE, "join data/side", "join  data/side"),
        {f"{SIDE}:report"},
    ),
    "its file and inputs touched": (lambda folder: (folder / SIDE).touch(), set()),
}


def dvc_status(folder: Path) -> set[str]:
    """Stages that `dvc status` reports as changed."""
    from dvc.repo import Repo

    with contextlib.chdir(folder), Repo(str(folder)) as repo:  # it names stages from the working directory
        return {target.removeprefix("dvc.yaml:") for target in repo.status()}


def agree(folder: Path, instance: dg.DagsterInstance, build: Callable[[Path], dg.Definitions]) -> set[str]:
    """What all three hold to be stale; fails where they differ."""
    mirror(folder, instance)
    found = dvc_status(folder)
    files = [str(file.relative_to(folder)) for file in folder.rglob("dvc.yaml")]
    assert {item.stage for item in plan(folder, files) if item.sure} == found, "what the plan says, and DVC"
    assert stale(build(folder), instance) == found, "what Dagster says, and DVC"
    assert mirror(folder, instance) == [], "a second look finds nothing new"
    return found


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
    assert agree(reproduced, instance, definitions) == expected


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENT_EDITS)
def test_agreement_with_an_experiment(
    name: str,
    experiment: Path,
    instance: dg.DagsterInstance,
    definitions: Callable[[Path], dg.Definitions],
) -> None:
    edit, expected = EXPERIMENT_EDITS[name]
    mirror(experiment, instance)
    edit(experiment)
    assert agree(experiment, instance, definitions) == expected


@pytest.mark.slow
def test_a_stage_below_one_that_ran_again_is_not_reported_as_made(
    reproduced: Path, instance: dg.DagsterInstance
) -> None:
    """An event for a stage that is stale would tell the sensor `rebuild_stale` that it has just been made."""
    mirror(reproduced, instance)
    edit_then_run_one(reproduced)
    assert mirror(reproduced, instance) == ["long@a"]
    toy.repro(reproduced, "--single-item", "long@b")
    assert mirror(reproduced, instance) == ["long@b"]
    toy.repro(reproduced)
    assert set(mirror(reproduced, instance)) >= {"join"}
