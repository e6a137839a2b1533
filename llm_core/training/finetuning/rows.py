"""A method's prepared data folder: `train.jsonl`, `heldout.jsonl`, `test.jsonl`, `metrics.json`.

`heldout` is for early stopping and calibration; `test` only for the reported figures. Rows made from documents
of the pipeline name them (`documents`, ids), and `documents.json` lists the rows made from each document.
"""

from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.runtime import json_lines
from llm_core.runtime.storage import output_file, write_json
from llm_core.training.finetuning.data.labels import label_of
from llm_core.training.finetuning.method import SIDES
from llm_core.training.finetuning.registry import method as find_method

DOCUMENTS = "documents.json"  # side -> id of a document -> ids of the rows made from it
TRAINED = "training_rows.jsonl"  # in the folder of a finetuned model: the ids of each step's rows
Row = dict[str, Any]


def write_rows(folder: Path, split: dict[str, list[Row]]) -> None:
    """Write the three files into `folder`, and DOCUMENTS where rows name the documents they were made from."""
    made: dict[str, dict[str, list[str]]] = {side: {} for side in SIDES}
    for side in SIDES:
        with output_file(folder / f"{side}.jsonl") as stream:
            for row in split[side]:
                stream.write(json_lines.dump(row, sort_keys=True))
                for document in row.get("documents", ()):
                    made[side].setdefault(document, []).append(row["id"])
    if any(made.values()):
        write_json(folder / DOCUMENTS, made)


def names(rows: list[Row]) -> list[str]:
    """The rows' ids, or their numbers from 1 where they have none."""
    return [str(row.get("id", number)) for number, row in enumerate(rows, 1)]


def read_rows(folder: str | Path, method: str) -> dict[str, list[Row]]:
    """Read what `finetune-data METHOD` wrote, checking each row's fields.

    Raises UserError, with file and line, where a row lacks what `method` needs, or a side is missing; or where a
    held-out or test row has another one's id, since scores of two models are compared by ids. In training a row may be
    repeated.
    """
    known = find_method(method)
    split: dict[str, list[Row]] = {}
    for side in SIDES:
        path = Path(folder) / f"{side}.jsonl"
        if not path.is_file():
            raise UserError(f"{path}: no such file; `llm-core finetune-data {method} --out {folder}` makes it")
        split[side] = []
        seen: dict[str, int] = {}
        for number, row in json_lines.read_rows(path):
            missing = [name for name in known.fields if name not in row]
            if missing:
                raise UserError(f"{path}:{number}: lacks '{missing[0]}', which {method} needs")
            if "messages" in known.fields:
                _check_messages(row["messages"], f"{path}:{number}")
            if "label" in known.fields:
                try:
                    row["label"] = label_of(row["label"])
                except ValueError as error:
                    raise UserError(f"{path}:{number}: {error}") from None
            split[side].append(row)
            name = str(row.get("id", len(split[side])))  # as in `names`
            if (before := seen.setdefault(name, number)) != number and side != "train":
                raise UserError(
                    f"{path}:{number}: is named {name!r}, as line {before} is; give each row an `id` of its own"
                )
    for side, minimum in known.minimum.items():
        if len(split[side]) < minimum:
            knob = "data.test_share" if side == "test" else "data.heldout_share"
            raise UserError(
                f"{folder}/{side}.jsonl: {len(split[side])} rows; {method} needs a minimum of {minimum} there "
                f"(give `llm-core finetune-data {method}` more rows, or a larger {knob})"
            )
    return split


def _check_messages(messages: Any, place: str) -> None:
    """Raise UserError where `messages` are no conversation that ends with an answer."""
    turns = messages if isinstance(messages, list) else []
    whole = all(isinstance(turn, dict) and "role" in turn and isinstance(turn.get("content"), str) for turn in turns)
    if len(turns) < 2 or not whole or turns[-1]["role"] != "assistant":
        raise UserError(f"{place}: `messages` must be a list of role and content that ends with the assistant's answer")
