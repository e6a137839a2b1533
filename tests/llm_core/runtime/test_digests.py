"""Our digests are DVC's: the hash in MLflow can be compared with dvc.lock letter by letter."""

import subprocess
import sys

import yaml

from llm_core.runtime.digests import content_digest


def test_digests_of_a_file_and_a_folder_equal_dvc(tmp_path):
    (tmp_path / "folder/inner").mkdir(parents=True)
    (tmp_path / "folder/b.txt").write_text("bee")
    (tmp_path / "folder/inner/a.txt").write_text("ay")
    (tmp_path / "folder/inner.txt").write_text("sorts between")
    (tmp_path / "folder/ä.txt").write_text("beyond ASCII")
    (tmp_path / "file.txt").write_text("alone")
    dvc = [sys.executable, "-m", "dvc"]
    subprocess.run([*dvc, "init", "-q", "--no-scm"], cwd=tmp_path, check=True)
    subprocess.run([*dvc, "add", "-q", "folder", "file.txt"], cwd=tmp_path, check=True)
    for place in (".dvcignore", "folder/.llm-core-output"):  # the mark of an output is part of no digest
        (tmp_path / place).write_text(".llm-core-output\n")
    assert (
        "up to date"
        in subprocess.run([*dvc, "status"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    )
    for name in ("folder", "file.txt"):
        recorded = yaml.safe_load((tmp_path / f"{name}.dvc").read_text())["outs"][0]["md5"]
        assert content_digest(tmp_path / name) == recorded
