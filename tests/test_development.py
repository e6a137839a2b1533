"""What make would run, without running it, and what a session of tests leaves behind."""

import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.conftest import forget_bytecode

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
@pytest.mark.parametrize(("target", "compiles"), [("install", True), (".venv/.packages-dev", False)])
def test_users_get_compiled_packages_and_the_gate_does_not_wait_for_them(target: str, compiles: bool) -> None:
    """Else every verb would compile torch at each start, where Python may not write its caches."""
    shown = subprocess.run(
        ["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    (pip,) = [line for line in shown.splitlines() if " pip install " in line]
    assert " -e '.[all" in pip and " -c constraints.txt " in pip
    assert ("--no-compile" not in pip) == compiles


def test_compiled_copies_of_earlier_sessions_projects_are_removed(tmp_path: Path) -> None:
    temporary = Path(f"{tmp_path}{Path(tempfile.gettempdir()).resolve()}")
    for name in ("pytest-of-anna/pytest-0/project", "checkout"):
        (temporary / name).mkdir(parents=True)
    forget_bytecode(tmp_path)
    assert [folder.name for folder in temporary.iterdir()] == ["checkout"]
