"""A whole DVC project at toy size: foreach stages, a dep that contains several outputs, a slow stage; real git, real
dvc."""

import shutil
import subprocess
from pathlib import Path

from tests.warm import start

DVC_YAML = """\
stages:
  words:
    foreach: ${sources}
    do:
      desc: Make the words of one source
      cmd: python code/stage.py make data/raw/${key}
      params: ["sources.${key}"]
      deps: [code/stage.py]
      outs: ["data/raw/${key}/documents"]
      metrics: ["data/raw/${key}/metrics.json"]
  long:
    foreach: ${sources}
    do:
      desc: Drop short words
      cmd: python code/stage.py long data/long/${key} data/raw/${key}/documents
      params: [cleaning]
      deps: ["data/raw/${key}/documents", code]
      outs: ["data/long/${key}/documents"]
      metrics: ["data/long/${key}/metrics.json"]
  join:
    desc: Each word once
    cmd: python code/stage.py join data/join data/long
    deps: ["data/long"]
    outs: ["data/join/documents"]
    metrics: ["data/join/metrics.json"]
  report:
    desc: One file about all
    cmd: python code/stage.py join data/report data/join/documents
    params: [title]
    deps: ["data/join/documents"]
    outs: ["data/report"]
  slow:
    desc: A long training
    meta: {pool: training}
    cmd: python code/stage.py slow data/slow data/join/documents
    params: [slow]
    deps: ["data/join/documents"]
    outs: ["data/slow"]
"""
EXPERIMENT_YAML = """\
vars: [../../params.yaml]
stages:
  sorted:
    foreach: ${sources}
    do:
      wdir: ../..
      desc: The words of one source once more
      cmd: python code/stage.py join data/sorted/${key} data/long/${key}/documents
      params: [title]
      deps: ["data/long/${key}/documents"]
      outs: ["data/sorted/${key}"]
  report:
    desc: Named as a stage of the default graph is, and in the folder of its file
    cmd: cd ../.. && python code/stage.py join data/side data/sorted
    params: [{../../params.yaml: [slow]}]
    deps: [../../data/sorted]
    outs: [../../data/side]
"""
PARAMS = """\
title: toy
sources:
  a: {words: 12}
  b: {words: 5}
cleaning: {min_length: 2}
slow: {steps: 0}
"""


def create(folder: Path) -> Path:
    """Write the project into an empty folder and commit it."""
    folder.mkdir(parents=True)
    (folder / "code").mkdir()
    shutil.copy(Path(__file__).parent / "toy_stage.py", folder / "code" / "stage.py")
    (folder / "dvc.yaml").write_text(DVC_YAML)
    (folder / "params.yaml").write_text(PARAMS)
    (folder / ".gitignore").write_text("/data\n/.dagster\n__pycache__\n/mlflow.db*\n/mlruns\n")
    (folder / ".dvcignore").write_text("__pycache__\n")
    run(folder, "git", "init", "-q", "-b", "main")
    run(folder, "git", "config", "user.email", "toy@example.org")
    run(folder, "git", "config", "user.name", "toy")
    dvc(folder, "init", "-q")
    dvc(folder, "config", "core.analytics", "false")
    commit(folder)
    return folder


def add_experiment(folder: Path) -> Path:
    """Add `experiments/side/dvc.yaml` to a project, and run it."""
    (folder / "experiments" / "side").mkdir(parents=True)
    (folder / "experiments" / "side" / "dvc.yaml").write_text(EXPERIMENT_YAML)
    repro(folder, "experiments/side/dvc.yaml")
    commit(folder)
    return folder


def run(folder: Path, *command: str) -> str:
    """Run a command in the project; its output, or an error that shows it."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def dvc(folder: Path, *arguments: str) -> str:
    """Run dvc in the project; it starts warm (tests/warm)."""
    return run(folder, start.python(), "-m", "dvc", *arguments)


def repro(folder: Path, *arguments: str) -> str:
    """`dvc --wait-for-lock repro`."""
    return dvc(folder, "--wait-for-lock", "repro", *arguments)


def commit(folder: Path) -> None:
    """Commit everything."""
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-q", "--allow-empty", "-m", "toy")


def edit(folder: Path, file: str, old: str, new: str) -> None:
    """Replace text in a file of the project; the text must be there."""
    text = (folder / file).read_text()
    assert old in text, f"{file} has no {old!r}"
    (folder / file).write_text(text.replace(old, new))
