"""A data set as rows of one method: read, checked with file and line, split, and without near-duplicates across sides.

The method says which layouts of rows it reads (`Method.layouts`). All rows of a data set have one layout: the one that
`data.format` of the run states, or the one of the first row.
"""

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.evaluation.results import GROUP
from llm_core.formats.row_files import SPLITS
from llm_core.params.finetuning import Data
from llm_core.runtime.digests import short_hash
from llm_core.runtime.progress import log
from llm_core.training.finetuning.data.hub import PRESETS, known_presets, read_hub
from llm_core.training.finetuning.data.labels import check_classes
from llm_core.training.finetuning.data.readers import read_files
from llm_core.training.finetuning.data.splits import check_sides, split_rows
from llm_core.training.finetuning.data.twins import remove_twins
from llm_core.training.finetuning.method import SIDES, Layout, Method
from llm_core.training.finetuning.registry import method as find_method

Row = dict[str, Any]


def from_dataset(
    name: str, source: str, data: Data, seed: int, packaged: Iterable[tuple[str, Row]] | None = None
) -> tuple[dict[str, list[Row]], dict[str, Any]]:
    """(split, metrics) of the data set at `source` for the method `name`; `packaged` has its rows where no file has.

    Raises UserError that names the first bad row where too many rows are bad. `rows_in` of the metrics is the sum of
    the rows of all sides, bad rows, duplicates and rows that were not drawn.
    """
    method = find_method(name)
    layouts = _allowed(name, method, data)
    preset = PRESETS.get(source)
    counts: Counter[str] = Counter()
    rows: list[Row] = []
    bad: list[str] = []
    labels: list[tuple[str, Any, str]] = []
    own: dict[str, str | None] = {}  # id -> the side that the data set states
    seen: set[str] = set()
    columns: set[str] = set()
    total = duplicates = told_apart = 0
    layout: str | None = data.format if data.format != "auto" else None
    for place, side, raw in sorted(
        _raw(source, preset, counts, packaged), key=lambda item: SIDES.index(item[1] or "train")
    ):
        total += 1
        if "__error__" in raw:
            bad.append(f"{place}: {raw['__error__']}")
            continue
        columns.update(raw)
        group = _group(raw, data.group)
        raw = _renamed(raw, data.columns, place)
        here = [key for key, form in layouts.items() if form.matches(raw, data)]
        if layout is None and here:
            layout = here[0]
        elif layout is not None and data.format == "auto" and here and layout not in here:
            raise UserError(
                f"{place}: this row has the layout {here[0]} ({layouts[here[0]].shape}), the rows before it {layout}; "
                "a data set has one layout"
            )
        try:
            row = _convert(layouts, layout, raw, data)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            bad.append(f"{place}: {error}")
            continue
        if "label" in row:
            labels.append((place, raw.get(_label_field(raw, row)), row["label"]))
        plain = json.dumps(row, sort_keys=True)
        row["id"] = str(raw.get("id") or short_hash(plain))
        if (key := short_hash(json.dumps({**row, "id": ""}, sort_keys=True))) in seen:
            duplicates += 1
            continue
        seen.add(key)
        if own.get(row["id"], side) != side:
            row["id"] = f"{side or 'train'}-{row['id']}"
        if row["id"] in own:  # scores of two models are compared by ids: each names one row
            row["id"], told_apart = f"{row['id']}-{short_hash(plain)[:8]}", told_apart + 1
        own[row["id"]] = side
        rows.append(row if group is None else row | {GROUP: group})
    for line in bad[:5]:
        log(f"finetune-data: bad row {line}")
    if told_apart:
        log(f"finetune-data: {told_apart} rows have an id that another row has: renamed")
    if not total:
        raise UserError(f"{source}: holds no row; put rows into it, or name another file in data.path")
    if len(bad) > data.maximum_bad_rows * total or not rows:
        raise UserError(f"{len(bad)} of {total} rows are bad (data.maximum_bad_rows {data.maximum_bad_rows}); {bad[0]}")
    check_classes(labels)
    _check_group(source, data.group, columns, rows)
    kept = len(rows)
    if data.maximum_rows and len(rows) > data.maximum_rows:
        rows = random.Random(seed).sample(rows, data.maximum_rows)
    split = split_rows(rows, {name: side for name, side in own.items() if side}, data, seed)
    twins = remove_twins(split, method.compared, data.near_duplicate_similarity)
    check_sides(split, dict.fromkeys(SIDES, 1) | dict(method.minimum), data, twins)
    if len({label for _, _, label in labels}) == 1:
        raise UserError(
            f"{source}: all {len(labels)} rows have the label '{labels[0][2]}', and {name} needs two: give rows of "
            "another label, or name the column of the labels in data.columns ({label: YOURS})"
        )
    for what, count in counts.items():
        log(f"finetune-data: {count} {what.replace('_', ' ')} in {source} were not read")
    metrics = {"rows_in": total, "bad_rows": len(bad), "exact_duplicates": duplicates, "near_duplicates": twins}
    return split, metrics | {"not_drawn": kept - len(rows), "format": layout, **counts}


def check_source(name: str, data: Data) -> None:
    """Raise UserError where the first readable row at `data.path` fits no layout of the method `name`."""
    if (Path(data.path) / "train" / "documents").is_dir():
        return
    layouts = _allowed(name, find_method(name), data)
    for place, _, raw in _raw(data.path, None, Counter(), None):
        if "__error__" in raw:
            continue
        row = _renamed(raw, data.columns, place)
        if any(layout.matches(row, data) for layout in layouts.values()):
            return
        shapes = "; or ".join(layout.shape for layout in layouts.values())
        raise UserError(
            f"{data.path}: has the columns {', '.join(raw)}; {name} needs {shapes}. Say which is which by data.columns "
            "{NEEDED: YOURS}"
        )
    raise UserError(f"{data.path}: no row that can be read; a file with at least one row is needed")


def convert(name: str, raw: Row, data: Data) -> Row:
    """One raw row as a row of the method. Raises ValueError that says what is missing or wrong."""
    layouts = _allowed(name, find_method(name), data)
    return _convert(layouts, next((key for key, form in layouts.items() if form.matches(raw, data)), None), raw, data)


def _allowed(name: str, method: Method, data: Data) -> dict[str, Layout]:
    """The layouts that the rows may have: all of the method's, or the stated one."""
    if data.format == "auto":
        return dict(method.layouts)
    if data.format not in method.layouts:
        raise UserError(
            f"data.format {data.format}: {name} reads {', '.join(method.layouts)}; set one of these, or auto"
        )
    return {data.format: method.layouts[data.format]}


def _convert(layouts: dict[str, Layout], layout: str | None, raw: Row, data: Data) -> Row:
    if layout is not None:
        return layouts[layout].convert(raw, data)
    if len(layouts) == 1:
        return next(iter(layouts.values())).convert(raw, data)  # says which field is missing
    shapes = "; ".join(f"{key}: {form.shape}" for key, form in layouts.items())
    raise ValueError(f"none of the known layouts ({shapes})")


def _raw(
    source: str, preset: Row | None, counts: Counter[str], packaged: Iterable[tuple[str, Row]] | None
) -> Iterator[tuple[str, str | None, Row]]:
    """(place, side stated by the data set, row) of a preset, a file or a folder."""
    if packaged is not None:
        yield from ((place, None, row) for place, row in packaged)
        return
    if preset:
        yield from ((place, None, row) for place, row in read_hub(preset))
        return
    if not Path(source).exists():
        raise UserError(f"{source}: no such file or folder, nor a preset ({known_presets()})")
    for place, side, raw in read_files(source, counts):
        stated = raw.get("split")
        yield place, side or (SPLITS.get(stated.lower()) if isinstance(stated, str) else None), raw


def _renamed(raw: Row, columns: dict[str, str], place: str) -> Row:
    """`raw` with the columns that the run maps under the names that the method knows."""
    if lacking := [column for column in columns.values() if column not in raw]:
        raise UserError(
            f"{place}: data.columns names the column '{lacking[0]}', which this row lacks (it has {', '.join(raw)})"
        )
    taken = set(columns.values())
    return {key: value for key, value in raw.items() if key not in taken and key not in columns} | {
        name: raw[column] for name, column in columns.items()
    }


def _group(raw: Row, column: str | None) -> str | None:
    """The group of a row, by the column that the run names; None where the row has no value there."""
    value = raw.get(column) if column else None
    missing = value is None or value != value  # Parquet has NaN where a column of numbers lacks a value
    return None if missing or not str(value).strip() else str(value).strip()


def _check_group(source: str, column: str | None, columns: set[str], rows: list[Row]) -> None:
    """Raise UserError where no row has a value in the column of groups; say how many rows have none."""
    lacking = sum(GROUP not in row for row in rows) if column else 0
    if column and lacking == len(rows):
        what = (
            "has no value in any row" if column in columns else f"no row has (they have {', '.join(sorted(columns))})"
        )
        raise UserError(f"{source}: data.group names the column '{column}', which {what}")
    if lacking:
        log(f"finetune-data: {lacking} of {len(rows)} rows have no value of '{column}': each is a group by itself")


def _label_field(raw: Row, row: Row) -> str:
    """The field that the label came from."""
    return next((key for key, value in raw.items() if str(value).strip() == row["label"]), "label")
