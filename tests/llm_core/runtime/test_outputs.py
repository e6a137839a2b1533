"""An output replaces only an earlier output, and a kill at any step leaves the old one or the new one."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llm_core.errors import UserError
from llm_core.runtime import outputs
from llm_core.runtime.outputs import MARK, check_output, output_file, output_folder


def write(out, **files):
    with output_folder(out) as folder:
        for name, text in files.items():
            (folder / name).write_text(text)


def content(folder):
    return {file.name: file.read_text() for file in folder.iterdir() if file.name != MARK}


def test_an_earlier_output_and_an_empty_folder_are_replaced(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", a="1", b="2")
    (tmp_path / "out/.gitignore").write_text("/a")  # DVC puts one beside its outputs
    (tmp_path / "out/b").unlink()  # and removes outputs before it runs a stage
    write(tmp_path / "out", c="3")
    assert content(tmp_path / "out") == {"c": "3"}
    assert json.loads((tmp_path / "out" / MARK).read_text())["files"] == ["c"]


@pytest.mark.parametrize("foreign", ["notes.txt", "a/notes.txt", ".env", "documents/00000.parquet"])
def test_a_file_that_no_stage_wrote_is_never_deleted(tmp_path, foreign):
    write(tmp_path / "out", a1="1")
    for out in (tmp_path / "out", tmp_path / "new"):
        (out / foreign).parent.mkdir(parents=True, exist_ok=True)
        (out / foreign).write_text("mine")
        with pytest.raises(UserError, match=f"holds files that no stage wrote there .*{Path(foreign).name}"):
            write(out, b="2")
        assert (out / foreign).read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["new", "out"]


def test_a_file_that_appears_while_the_stage_works_is_kept(tmp_path):
    with pytest.raises(UserError, match="mine"), output_folder(tmp_path / "out") as folder:
        (folder / "a").write_text("1")
        (tmp_path / "out").mkdir()
        (tmp_path / "out/mine").write_text("x")
    assert content(tmp_path / "out") == {"mine": "x"}


def test_outputs_without_a_mark_are_known_by_their_files(tmp_path):
    """`dvc checkout`, and releases before the mark."""
    out = tmp_path / "out"
    for name in ("documents/00000.parquet", "ledger/00000.parquet", "metrics.json", "drops.jsonl"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).touch()
    check_output(out)
    (out / "documents/thesis.docx").touch()
    with pytest.raises(UserError, match="thesis"):
        check_output(out)
    model = tmp_path / "model"
    model.mkdir()
    for name in ("config.json", "metrics.json", "tokenizer.json", "model.safetensors", "speedrun.py"):
        (model / name).touch()
    check_output(model)
    (model / "own.py").touch()
    with pytest.raises(UserError, match="files that no stage wrote there"):
        check_output(model)


@pytest.mark.parametrize(
    "out", [".", "..", "~", "s3://bucket/out", "memory://x", "file", "file/below/it", "repository"]
)
def test_what_is_no_output_folder_is_refused_and_nothing_is_left(tmp_path, monkeypatch, out):
    (tmp_path / "here/repository/.git").mkdir(parents=True)
    (tmp_path / "here/file").write_text("mine")
    monkeypatch.chdir(tmp_path / "here")
    out = str(Path.home()) if out == "~" else out
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError) as told:
        write(out, a="1")
    assert "\n" not in str(told.value)
    assert sorted(tmp_path.rglob("*")) == before
    if out.endswith(("s3", "x", "file/below/it")):
        with pytest.raises(UserError), output_file(out) as stream:
            stream.write("1")
        assert sorted(tmp_path.rglob("*")) == before


def test_an_output_never_holds_its_input(tmp_path):
    write(tmp_path / "data", a="1")
    for given in (tmp_path / "data", tmp_path / "data/a", tmp_path / "x/../data/a"):
        with pytest.raises(UserError, match="is or holds the input"), output_folder(tmp_path / "data", [given]):
            pass
    with output_folder(tmp_path / "data/inner", [tmp_path / "data", "s3://bucket/x"]):
        pass


def test_a_failure_leaves_none_of_the_folders_made_for_it(tmp_path):
    with pytest.raises(ZeroDivisionError), output_folder(tmp_path / "a/b/c"):
        _ = 1 / 0
    with pytest.raises(ZeroDivisionError), output_file(tmp_path / "a/b/c"):
        _ = 1 / 0
    assert os.listdir(tmp_path) == []


def test_a_link_to_another_disk_stays_a_link(tmp_path):
    write(tmp_path / "disk/out", a="1")
    (tmp_path / "out").symlink_to(tmp_path / "disk/out")
    write(tmp_path / "out", a="2")
    assert (tmp_path / "out").is_symlink()
    assert content(tmp_path / "disk/out") == {"a": "2"}


def test_the_scratch_folder_of_a_living_writer_is_left_alone(tmp_path):
    code = (
        "import sys; from llm_core.runtime.outputs import output_folder\n"
        "with output_folder(sys.argv[1]) as folder:\n"
        "    print('ready', flush=True); sys.stdin.read(); (folder / 'slow').write_text('x')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE, stdin=subprocess.PIPE
    ) as child:
        assert child.stdout and child.stdout.readline() == b"ready\n"
        write(tmp_path / "out", fast="1")
        child.communicate()
    assert child.returncode == 0
    assert content(tmp_path / "out") == {"slow": "x"}
    assert os.listdir(tmp_path) == ["out"]


def test_liveness_is_not_judged_by_a_process_id(tmp_path):
    """A scratch folder of this very process id, from another container or before a restart, is abandoned."""
    left = tmp_path / f".out.partial-{os.getpid()}"
    left.mkdir()
    (left / MARK).touch()
    write(tmp_path / "out", a="1")
    assert os.listdir(tmp_path) == ["out"]


KILLED = """
import os, signal, sys
from llm_core.runtime import outputs
out, step, exchange = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "exchange"
if not exchange:
    outputs._exchange = lambda *_: False
seen = 0
EVENTS = "os.mkdir os.rename os.remove os.rmdir os.truncate fcntl.flock open shutil.rmtree".split()
def hook(event, arguments):
    global seen
    if event in EVENTS:
        if event != "open" or ".out" in str(arguments[0]):
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
with outputs.output_folder(out) as folder:
    (folder / "a").write_text("new")
    (folder / "b").write_text("new")
"""


@pytest.mark.parametrize("way", ["exchange", "renames"])
def test_a_kill_at_any_step_leaves_the_old_output_or_the_new_one(tmp_path, way):
    out, old, new = tmp_path / "out", {"a": "old", "c": "old"}, {"a": "new", "b": "new"}
    found, step, killed = [], 0, True
    while killed:
        step += 1
        write(out, **old)
        child = subprocess.run([sys.executable, "-c", KILLED, str(out), str(step), way], check=False)
        killed = child.returncode == -9
        assert killed or child.returncode == 0
        if way == "exchange":
            assert content(out) in (old, new)
        with pytest.raises(ZeroDivisionError), output_folder(out):  # the next start, which fails too
            _ = 1 / 0
        found.append(content(out))
        for path in tmp_path.glob(".out.partial-*"):  # killed before it had a mark: removed once it is old
            assert not list(path.iterdir())
            os.utime(path, (time.time() - 2 * outputs.ABANDONED_SECONDS,) * 2)
        write(out, **old)
        assert os.listdir(tmp_path) == ["out"]
    assert step > 5
    assert found == sorted(found, key=lambda state: state == new)  # old up to one step, new from there on
    assert found[0] == old
    assert found[-1] == new


def test_left_over_files_of_a_killed_writer_are_removed(tmp_path):
    (tmp_path / ".f.partial-1234").write_text("half")
    with output_file(tmp_path / "f") as stream:
        stream.write("x")
    assert os.listdir(tmp_path) == ["f"]
