"""What `llm-core summary` names as the next commands."""

import subprocess
from pathlib import Path

import pytest

from llm_core.cli.summary import where
from llm_core.params import Params


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, *arguments], check=True)


def test_a_run_that_git_does_not_know_is_to_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def named() -> list[str]:
        return [word for word, _ in where(Params(), Path("data"))]

    Path("dvc.lock").write_text("stages: {}\n")
    assert "keep" not in named(), "outside git"
    git("init", "-q")
    assert named()[-1] == "keep"
    git("add", "dvc.lock")
    git("commit", "-q", "-m", "a run")
    assert "keep" not in named()
    Path("dvc.lock").write_text("stages: {a: {}}\n")
    assert named()[-1] == "keep"
