"""A file added to a `files` source's folder runs its stages again under `dvc repro`; nothing else does."""

import subprocess
from pathlib import Path

import pytest
import yaml

from pipelines.look import Watcher
from pipelines.plan import plan
from tests.test_takedown_graph import ROOT, environment
from tests.waiting import wait

WORDS = "the river runs past the old town and its long stone wall to the quiet sea {}\n"


def repro(folder: Path, *targets: str) -> list[str]:
    """Names of the stages that `dvc repro` ran."""
    command = ["dvc", "repro", *targets]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return [line.split("'")[1] for line in done.stdout.splitlines() if line.startswith("Running stage")]


@pytest.mark.slow
def test_an_added_file_is_noticed_and_a_thread_count_is_not(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/one.txt").write_text(WORDS.format(1))
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    chosen = {name: stages[name] for name in ("inputs", "download", "clean")}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": chosen}))
    params = {
        "sources": {"web": {"kind": "files", "paths": ["corpus"], "license": "public-domain"}},
        "cleaning": {"steps": ["repair"]},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "llm_core").symlink_to(ROOT / "llm_core")
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"]):
        subprocess.run(command, cwd=tmp_path, env=environment(), check=True)
    everything = ["inputs", "download@web", "clean@web"]
    assert repro(tmp_path) == everything
    assert repro(tmp_path) == ["inputs"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params | {"launch": {"cleaning": {"workers": 1}}}))
    assert repro(tmp_path) == ["inputs"], "where work runs makes nothing stale"
    assert plan(tmp_path) == []
    watcher = Watcher(tmp_path)
    assert {stage.state for stage in watcher.look().stages[1:]} == {"done"}
    (tmp_path / "corpus/two.txt").write_text(WORDS.format(2))
    planned = {item.stage: (item.sure, item.reasons) for item in plan(tmp_path)}
    edited = (True, ["file corpus/two.txt changed"])
    assert planned == {
        "inputs": edited, "download@web": edited, "clean@web": (False, ["if download@web changes its output"]),
    }  # fmt: skip
    wait(lambda: [stage.state for stage in watcher.look().stages] == ["stale", "stale", "waiting"], 20, "the file")

    assert repro(tmp_path, "inputs") == ["inputs"]
    (tmp_path / "corpus/two.txt").unlink()
    assert [item.stage for item in plan(tmp_path)] == ["inputs"], "what it would write is what download@web was made of"
    assert repro(tmp_path) == ["inputs"]
    (tmp_path / "corpus/two.txt").write_text(WORDS.format(2))
    assert repro(tmp_path) == everything
