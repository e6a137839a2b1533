"""A store of MLflow that is a copy is the store that MLflow makes."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

MAKE = """
import sys
from pathlib import Path
from mlflow.store.db import utils
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from tests.warm import store

folder, migrated = Path(sys.argv[1]), []
upgrade = utils._upgrade_db
utils._upgrade_db = lambda engine: [migrated.append(engine), upgrade(engine)]
SqlAlchemyStore(f"sqlite:///{folder}/own.db", "mlruns")
store.quicken(folder / "template")
for name in ("first", "second", "third"):
    SqlAlchemyStore(f"sqlite:///{folder}/{name}.db", "mlruns").create_experiment(name)
print(len(migrated))
"""


def test_it_has_the_tables_of_one_that_was_migrated_and_is_written_like_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKE, str(tmp_path)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.stdout == "2\n", "its own and the template: " + done.stderr

    def ask(name: str, question: str) -> list[tuple[str, ...]]:
        with closing(sqlite3.connect(tmp_path / f"{name}.db")) as store:
            return sorted(store.execute(question).fetchall())

    for question in ("SELECT type, name FROM sqlite_master", "SELECT * FROM alembic_version"):
        assert ask("own", question) == ask("first", question) == ask("third", question) != []
    assert ask("third", "SELECT name FROM experiments") == [("Default",), ("third",)]
