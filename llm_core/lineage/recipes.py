"""Would a document pass another recipe? And which threshold rejected it?

The question is answered by running the steps of cleaning on the one document as it was downloaded: those that
`cleaning.steps` has before its recipes (extraction, repair), then the recipe in question. Nothing is written. Sources
in `cleaning.exempt` are judged too; the answer says that the pipeline would not have judged them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from llm_core.errors import UserError
from llm_core.formats.documents import SCHEMA
from llm_core.params import Params
from llm_core.params.cleaning import Cleaning
from llm_core.params.quality import Rule, built_in, recipes, threshold
from llm_core.runtime.storage import glob_files, local_file


def verdict(data: str, place: tuple[str, int] | None, identifier: str, recipe: str, params: Cleaning) -> dict[str, Any]:
    """The decision of `recipe` on the raw document `identifier`: verdict, reason, score, threshold, exempt.

    `place` is (file, row) of the raw document if the ledger has it; otherwise all raw files below `data` are
    searched. Raises UserError for a recipe that does not exist, or where the raw document is gone.
    """
    from llm_core.corpus.cleaning.batch import from_arrow
    from llm_core.corpus.cleaning.steps import build_steps

    rules = recipe_rules(recipe, params)
    raw = _raw_document(data, place, identifier)
    batch = from_arrow(raw, "", 0)
    for step in build_steps(params.model_copy(update={"exempt": []}), _with_recipe(recipe, params)):
        step(batch)
    row = batch.verdicts()[0]
    reason = row["reason"] if row["verdict"] == "dropped" else None
    found: dict[str, Any] = {"recipe": recipe, "verdict": row["verdict"], "reason": reason, "score": row["score"]}
    return found | {"threshold": threshold(reason, rules), "exempt": batch.sources[0] in params.exempt}


def recipe_rules(recipe: str, params: Cleaning) -> Sequence[Rule]:
    """The rules of a recipe of the params, or a built-in one; UserError where there is none of that name."""
    rules = params.recipes.get(recipe) or built_in().get(recipe)
    if not rules:
        raise UserError(f"--recipe {recipe}: there is no such recipe (there are {', '.join(recipes(params.recipes))})")
    return rules


def decision_threshold(decision: dict[str, Any], params: Params) -> float | None:
    """The threshold that rejected a document in a ledger row, according to the present params."""
    reason = decision.get("reason")
    if decision["stage"] == "dedup":
        return params.deduplication.threshold if reason == "near_duplicate" else None
    if decision["stage"] == "decontaminate":
        return params.decontamination.threshold if decision["verdict"] == "dropped" else None
    if reason == "too_short":
        return float(params.cleaning.min_characters)
    for name in params.cleaning.steps:
        found = threshold(reason, params.cleaning.recipes.get(name) or built_in().get(name) or [])
        if found is not None:
            return found
    return None


def _with_recipe(recipe: str, params: Cleaning) -> list[str]:
    """`cleaning.steps` with this recipe in the place of the configured ones (at the end if there are none)."""
    known = recipes(params.recipes)
    steps: list[str] = []
    for name in [*params.steps, recipe]:
        asked = recipe if name in known else name
        if asked not in steps:
            steps.append(asked)
    return steps


def _raw_document(data: str, place: tuple[str, int] | None, identifier: str) -> pa.RecordBatch:
    """The document as it was downloaded, one row of `documents.SCHEMA`."""
    if place:
        try:
            table = pq.ParquetFile(local_file(place[0]))
        except (OSError, pa.ArrowInvalid):
            table = None  # a path of another working folder, or gone: searched for below
        first = 0
        for number in range(table.num_row_groups if table else 0):
            rows = table.metadata.row_group(number).num_rows
            if first + rows > place[1]:
                row = table.read_row_group(number).slice(place[1] - first, 1)
                if row.num_rows and row["id"][0].as_py() == identifier:
                    return row.select(SCHEMA.names).cast(SCHEMA).to_batches()[0]
                break
            first += rows
    for file in glob_files(Path(data), "*/documents/*.parquet"):
        found = pq.read_table(local_file(file), columns=SCHEMA.names, filters=[("id", "==", identifier)])
        if found.num_rows:
            return found.cast(SCHEMA).combine_chunks().to_batches()[0]
    raise UserError(f"{identifier}: its text is no longer below {data}, so no recipe can judge it")
