"""`llm-core init` says what it finds in a folder of documents."""

import gzip
from pathlib import Path

import pytest
from typer.testing import CliRunner

from llm_core.cli.init import app
from llm_core.errors import UserError


def test_files_are_counted_by_kind_and_those_not_read_by_reason(tmp_path: Path) -> None:
    folder = tmp_path / "my notes"
    folder.mkdir()
    for name in ("a.md", "b.MD", "c.txt", "d.xlsx", "e.xlsx", ".hidden.md", "f.pdf"):
        (folder / name).write_text("text")
    (folder / "g.tar.gz").write_bytes(gzip.compress(b""))
    out = tmp_path / "params.yaml"
    done = CliRunner().invoke(app, ["--documents", str(folder), "--out-file", str(out)])
    assert done.exit_code == 0, done.output
    assert f"{folder}: 2 .md, 1 .pdf, 1 .tar.gz, 1 .txt; not read: 1 hidden name, 2 other ending .xlsx" in done.output
    assert out.is_file()


def test_a_folder_of_which_nothing_is_read_is_refused_before_a_file_is_written(tmp_path: Path) -> None:
    (tmp_path / "sheets").mkdir()
    (tmp_path / "sheets/a.xlsx").write_text("x")
    out = tmp_path / "params.yaml"
    with pytest.raises(UserError, match=r"sheets: holds no file that is read \(1 other_ending \.xlsx\)"):
        CliRunner().invoke(
            app, ["--documents", str(tmp_path / "sheets"), "--out-file", str(out)], catch_exceptions=False
        )
    assert not out.exists()
