"""MLflow's sqlite stores as copies of one that has been made before.

To make a store, MLflow runs sixty migrations (1.2 s of processor time), and each process that opens one reads all of
them to learn the name of the last (0.2 s). Programs that start cold, and MLflow's server, still do both.
"""

import os
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

CACHE = Path(__file__).parents[2] / ".pytest_cache"


@cache
def quicken(folder: Path = CACHE) -> None:
    """Copy a store in `folder`, made at the first need, where this process or one that it forks would make one."""
    from mlflow.store.db import utils
    from mlflow.version import VERSION

    template = folder / f"mlflow-{VERSION}.db"
    make, latest = utils._initialize_tables, cache(utils._get_latest_schema_revision)
    latest()

    def initialize_tables(engine: Any) -> None:
        if engine.dialect.name != "sqlite" or not utils._is_empty_database(engine):
            make(engine)
            return
        if template.exists():
            with closing(engine.raw_connection()) as own, closing(sqlite3.connect(template)) as made:
                made.backup(own.driver_connection)
            return
        make(engine)
        folder.mkdir(exist_ok=True)
        part = folder / f"{template.name}.{os.getpid()}"
        with closing(engine.raw_connection()) as own, closing(sqlite3.connect(part)) as copy:
            own.driver_connection.backup(copy)
        part.replace(template)

    utils._initialize_tables, utils._get_latest_schema_revision = initialize_tables, latest
