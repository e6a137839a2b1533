"""Text from data sends no control sequences to the terminal, whichever verb prints it."""

import ast
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llm_core.runtime.terminal import COMMANDS
from tests.llm_core.lineage.conftest import IDS, project  # noqa: F401 - a fixture
from tests.llm_core.lineage.test_journey import main_exit

EVIL = " \x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\r\nfake line"
ROOT = Path(__file__).parents[3]


@pytest.fixture
def hostile(project: Path) -> Path:  # noqa: F811
    """A finished pipeline whose titles, addresses, reasons, licences and texts hold commands of a terminal."""
    for file in (project / "data").rglob("*.parquet"):
        table = pq.read_table(file)
        for name in set(table.column_names) & {"url", "reason", "detail", "license", "text"}:
            values = [value and value + EVIL for value in table[name].to_pylist()]
            at = table.column_names.index(name)
            table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
        if "metadata" in table.column_names:
            at = table.column_names.index("metadata")
            title = pa.array([json.dumps({"title": "A title" + EVIL})] * len(table), table.schema.field(at).type)
            table = table.set_column(at, table.schema.field(at), title)
        pq.write_table(table, file)
    return project


VERBS = [
    ["trace", "--id", IDS[4]],
    ["trace", "--id", IDS[39], "--json"],
    ["trace", "--text", "treaty of article"],
    ["documents", "--model", "data/models/instruction"],
    ["takedown", "--id", IDS[3], "--reason", "asked" + EVIL],
    ["takedown", "--url", "https://nowhere.example.org" + EVIL, "--reason", "asked"],
    ["diff", "data/clean/web", "data/dedup"],
    ["diff", "data/clean/web", "data/dedup", "--json"],
    ["summary"],
    ["params", "sources" + EVIL],
]


@pytest.mark.parametrize("arguments", VERBS, ids=lambda arguments: " ".join(arguments)[:30].encode("ascii", "replace"))
def test_what_a_verb_prints_commands_nothing(
    hostile: Path, arguments: list[str], capsys: pytest.CaptureFixture
) -> None:
    main_exit(arguments)
    shown = "".join(capsys.readouterr())
    assert shown.strip() and not COMMANDS.search(shown), COMMANDS.findall(shown)
    assert not any(line.startswith("fake line") for line in shown.splitlines())


def test_a_search_shows_what_is_hostile_as_text(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    row = {"id": "1", "source": "web" + EVIL, "url": "https://a.example" + EVIL, "title": "T" + EVIL}
    (tmp_path / "in.jsonl").write_text(json.dumps(row | {"text": "The treaty was signed." + EVIL}) + "\n")
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    common = ["--params", str(tmp_path / "params.yaml"), "--set", "retrieval.encoder=none"]
    assert main_exit(["index", "--in", str(tmp_path / "in.jsonl"), "--out", str(tmp_path / "index"), *common]) == 0
    capsys.readouterr()
    for more in ([], ["--json"]):
        command = ["search", "treaty signed", "--index", str(tmp_path / "index"), "--method", "bm25", *common, *more]
        assert main_exit(command) == 0
        shown = capsys.readouterr().out
        assert "treaty" in shown and not COMMANDS.search(shown)
        assert not any(line.startswith("fake line") for line in shown.splitlines())
    assert "\x1b" in json.loads(shown)["text"] or "evil" in json.loads(shown)["text"]


def test_no_verb_prints_past_the_one_door() -> None:
    found = []
    for file in sorted((ROOT / "llm_core/cli").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in ("print", "typer.echo", "typer.secho", "sys.stdout.write", "click.echo"):
                found.append((file.name, ast.unparse(node)))
    allowed = {
        ("__init__.py", "print(overview())"),  # our own words
        ("__init__.py", "print(f'llm-core {__version__}')"),
        ("__init__.py", "print(f'llm-core: error: {printable(message, lines=False)}', file=sys.stderr)"),
    }
    assert [one for one in found if one not in allowed] == []
