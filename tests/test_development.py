"""What make would run, without running it, and what a session of tests leaves behind."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import forget_bytecode

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize(("target", "compiles"), [("install", True), (".venv/.packages-dev", False)])
def test_users_get_compiled_packages_and_the_gate_does_not_wait_for_them(target: str, compiles: bool) -> None:
    """Else every verb would compile torch at each start, where Python may not write its caches. By all cores: pip takes
    one."""
    shown = subprocess.run(
        ["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (pip,) = [line for line in shown.splitlines() if " pip install " in line]
    assert " -e '.[all" in pip and " -c constraints.txt " in pip
    assert " --no-compile " in pip
    assert any(" compileall " in line for line in shown.splitlines()) == compiles


def test_compiled_copies_of_earlier_sessions_projects_are_removed(tmp_path: Path) -> None:
    temporary = Path(f"{tmp_path}{Path(tempfile.gettempdir()).resolve()}")
    for name in ("pytest-of-anna/pytest-0/project", "checkout"):
        (temporary / name).mkdir(parents=True)
    forget_bytecode(tmp_path)
    assert [folder.name for folder in temporary.iterdir()] == ["checkout"]


def test_modules_with_slow_tests_come_last_and_a_failure_is_shown_at_once(tmp_path: Path) -> None:
    mark = "import pytest\n@pytest.mark.slow\n"
    (tmp_path / "test_a.py").write_text(f"def test_quick(): pass\n{mark}def test_slow(): pass\n")
    (tmp_path / "test_b.py").write_text("def test_wrong(): assert 'reason'.isupper()\n")
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", ROOT / "pyproject.toml", "-n", "1", "-vv"]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    ran = subprocess.run([*command, tmp_path], cwd=ROOT, env=outside, capture_output=True, text=True)
    names = [line.rpartition("::")[2].rstrip() for line in ran.stdout.splitlines() if line.startswith("[gw0] [")]
    assert names == ["test_wrong", "test_quick", "test_slow"], ran.stdout
    assert "test_b.py::test_wrong failed in its call" in ran.stderr and "'reason'.isupper" in ran.stderr
