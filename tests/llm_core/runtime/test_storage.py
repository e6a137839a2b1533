"""An output appears whole or not at all."""

import os
import subprocess
import sys
import time

import pytest

from llm_core.errors import UserError
from llm_core.runtime.storage import is_folder, list_files, open_file, output_file, output_folder


def test_an_output_folder_appears_when_the_block_ends(tmp_path):
    out = tmp_path / "out"
    with output_folder(out) as folder:
        (folder / "a").write_text("1")
        assert not out.exists()
    assert (out / "a").read_text() == "1"
    assert os.listdir(tmp_path) == ["out"]


def test_a_failure_leaves_what_was_there(tmp_path):
    out = tmp_path / "out"
    with output_folder(out) as folder:
        (folder / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), output_folder(out) as folder:
        (folder / "a").write_text("new")
        raise KeyboardInterrupt
    assert (out / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["out"]


def test_a_killed_process_leaves_nothing_that_looks_finished_and_the_next_run_clears_it(tmp_path):
    code = (
        "import sys, time; from llm_core.runtime.storage import output_folder\n"
        "with output_folder(sys.argv[1]) as folder:\n"
        "    (folder / 'half').write_text('x'); print('ready', flush=True); time.sleep(60)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE)
    assert child.stdout and child.stdout.readline() == b"ready\n"
    child.kill()
    child.wait()
    assert not (tmp_path / "out").exists()
    assert len(os.listdir(tmp_path)) == 1
    time.sleep(0.1)
    with output_folder(tmp_path / "out") as folder:
        (folder / "whole").write_text("x")
    assert os.listdir(tmp_path) == ["out"]


def test_an_output_file_is_replaced_whole(tmp_path):
    with output_file(tmp_path / "f") as stream:
        stream.write("one")
    with pytest.raises(ValueError, match="stop"), output_file(tmp_path / "f") as stream:
        stream.write("two")
        raise ValueError("stop")
    assert (tmp_path / "f").read_text() == "one"
    assert os.listdir(tmp_path) == ["f"]


def test_object_storage_without_credentials_is_an_error_of_one_kind(monkeypatch, tmp_path):
    pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for read in (is_folder, open_file, lambda path: list_files(path, (".parquet",))):
        with pytest.raises(UserError, match=r"s3://bucket/folder: cannot be read \(Unable to locate credentials\)"):
            read("s3://bucket/folder")
