"""`llm-core diff` between git revisions: two commits of a real DVC project, read from its cache."""

import subprocess
from pathlib import Path

import pytest

from llm_core.errors import UserError
from llm_core.formats.documents import DocumentWriter
from llm_core.lineage.revisions import place_of
from tests.llm_core.lineage.test_journey import main_exit
from tests.warm import start

DVC_YAML = """\
stages:
  clean:
    foreach: [web]
    do:
      cmd: cp -r source data/clean/${item} && cp params.yaml data/clean/${item}.yaml
      deps: [source]
      outs: ["data/clean/${item}", "data/clean/${item}.yaml"]
"""
SIDE_YAML = """\
stages:
  copy: {wdir: ../.., cmd: cp -r source data/side, deps: [source], outs: [data/side]}
"""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def commit(texts: dict[str, str]) -> None:
    """Make documents of these texts, `dvc repro`, commit."""
    with DocumentWriter(Path("source/documents")) as writer:
        writer.write_rows([{"id": key, "source": "web", "text": text, "license": "CC0"} for key, text in texts.items()])
    run(start.python(), "-m", "dvc", "repro", "-q", "--all-pipelines")
    run("git", "add", "-A")
    run("git", "commit", "-q", "-m", "documents")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits: document 2 changed, 3 was removed, 4 was added."""
    monkeypatch.chdir(tmp_path)
    run("git", "init", "-q")
    run("git", "config", "user.email", "a@example.org")
    run("git", "config", "user.name", "a")
    run(start.python(), "-m", "dvc", "init", "-q")
    Path("dvc.yaml").write_text(DVC_YAML)
    Path("experiments/side").mkdir(parents=True)
    Path("experiments/side/dvc.yaml").write_text(SIDE_YAML)
    Path("params.yaml").write_text("seed: 1\n")
    Path(".gitignore").write_text("/data\n/source\n/.scratch\n")
    Path("data/clean").mkdir(parents=True)
    commit({"1": "one", "2": "two", "3": "three"})
    commit({"1": "one", "2": "two again", "4": "four"})
    return tmp_path


def test_a_folder_whose_name_is_not_ascii_has_outputs_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("experiments/é", "experiments/plain"):
        Path(folder).mkdir(parents=True)
        Path(folder, "dvc.yaml").write_text("stages: {copy: {cmd: 'true', outs: [made]}}\n")
        Path(folder, "dvc.lock").write_text("stages: {copy: {cmd: 'true', outs: [{path: made, md5: 0123}]}}\n")
    run("git", "init", "-q")
    run("git", "add", "-A")
    run("git", "-c", "user.email=a@example.org", "-c", "user.name=a", "commit", "-q", "-m", "made")
    with pytest.raises(
        UserError, match=r"no stage made that path at HEAD; it has experiments/plain/made, experiments/é/made"
    ):
        place_of("HEAD:data")


@pytest.mark.slow
def test_two_revisions_are_read_from_dvcs_cache(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (project / ".git/HEAD").read_text()
    for names in (
        ["HEAD~1:data/clean/web", "HEAD:data/clean/web"],
        ["HEAD~1:data/clean/web"],  # against the working copy
        ["HEAD~1:data/side", "data/clean/web"],  # an experiment's stage, with a wdir of its own
    ):
        assert main_exit(["diff", *names]) == 0
        shown = capsys.readouterr().out
        assert f"# {names[0]} → {names[-1].removeprefix('HEAD~1:')}" in shown
        assert "| web | 3 | 3 | 1 | 1 | 1 |" in shown, "before, after, added, removed, changed"
    assert main_exit(["diff", "HEAD:data/clean/web", "data/clean/web"]) == 0
    assert "Nothing differs" in capsys.readouterr().out
    assert (project / ".git/HEAD").read_text() == before
    assert place_of("HEAD:data/clean/web.yaml").read_text() == "seed: 1\n", "an output that is a file"

    tree = place_of("HEAD:data/clean/web").parents[2]
    assert "data/clean/web" in (tree / "dvc.lock").read_text()
    assert "data/side" in (tree / "experiments/side/dvc.lock").read_text()
    assert main_exit(["diff", "data/clean/web"]) == 1
    assert "a revision (HEAD~1:data/clean/web)" in capsys.readouterr().err
    with pytest.raises(UserError, match="nowhere: git does not know it"):
        place_of("nowhere:data/clean/web")
    with pytest.raises(UserError, match=r"no stage made that path at HEAD; it has .*data/clean/web, "):
        place_of("HEAD:data/raw")
    for file in (project / ".dvc/cache/files/md5").rglob("*.dir"):
        file.unlink()
    with pytest.raises(UserError, match=r"data/clean/web is not in DVC's cache; `dvc fetch --all-commits`"):
        place_of("HEAD:data/clean")
