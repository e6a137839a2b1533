"""The sides of a data set: its own where it has them, else drawn by the seed; an empty side is an error."""

import math
import random
from collections import Counter, defaultdict
from typing import Any

from llm_core.errors import UserError
from llm_core.evaluation.results import GROUP
from llm_core.params.finetuning import Data
from llm_core.runtime.digests import short_hash
from llm_core.training.finetuning.method import SIDES

Row = dict[str, Any]
Split = dict[str, list[Row]]


def split_rows(rows: list[Row], own: dict[str, str], data: Data, seed: int) -> Split:
    """`rows` by side. `own` is id -> side of the rows whose side the data set states.

    A side that the data set has stays as it is, so that its test rows never enter training. Sides that it lacks are
    drawn from the rows of training.
    """
    given: Split = {side: [row for row in rows if own.get(row["id"], "train") == side] for side in SIDES}
    _check_groups(given)
    shares = {"heldout": data.heldout_share, "test": data.test_share}
    wanted = {side: 0.0 if given[side] else share for side, share in shares.items()}
    draw = by_group if any(GROUP in row for row in rows) else stratified
    split = draw(given["train"], wanted["heldout"], wanted["test"], seed)
    for side in shares:
        split[side] += given[side]
    return split


def check_sides(split: Split, minimum: dict[str, int], data: Data, removed: dict[str, int]) -> None:
    """Raise UserError where a side has too few rows, saying how many the data set needs and by which knobs."""
    short = [side for side in SIDES if len(split[side]) < minimum[side]]
    if short:
        total = sum(map(len, split.values()))
        counts = ", ".join(f"{len(split[side])} {side}" for side in SIDES)
        twins = sum(removed.values())
        note = f" ({twins} more were near-duplicates of rows in another side)" if twins else ""
        groups = Counter(row[GROUP] for rows in split.values() for row in rows if GROUP in row)
        if groups:
            raise UserError(
                f"too few groups for a split: {counts} of {total} rows{note}; the column '{data.group}' has "
                f"{len(groups)} groups of {min(groups.values())} to {max(groups.values())} rows, and a group is on one "
                f"side: raise data.heldout_share {data.heldout_share} and data.test_share {data.test_share}, or give "
                "more groups"
            )
        needed = math.floor(0.5 / min(data.heldout_share, data.test_share)) + 1
        labels = Counter(row["label"] for rows in split.values() for row in rows if "label" in row)
        if labels and total >= needed:
            raise UserError(
                f"too few rows of each label for a split: {counts} of {total}{note}; {len(labels)} labels, the most "
                f"frequent with {max(labels.values())} rows, and one row of each is left for training: name the column "
                "of the labels in data.columns ({label: YOURS}), or give more rows of each label"
            )
        raise UserError(
            f"too few rows for a split: {counts} of {total}{note}; a minimum of {needed} rows is needed "
            f"with data.heldout_share {data.heldout_share} "
            f"and data.test_share {data.test_share}: raise these, or give more rows"
        )


def _check_groups(given: Split) -> None:
    """Raise UserError where the data set's own sides divide a group."""
    sides: dict[str, set[str]] = defaultdict(set)
    for side, rows in given.items():
        for row in rows:
            if GROUP in row:
                sides[row[GROUP]].add(side)
    divided = [group for group, found in sides.items() if len(found) > 1]
    if divided:
        raise UserError(
            f"{len(divided)} groups have rows on two of the data set's own sides (the first: '{divided[0]}', on "
            f"{' and '.join(side for side in SIDES if side in sides[divided[0]])}), and a group is on one side: leave "
            "data.group out to take the sides as they are, or rename the files or the column that state them"
        )


def stratified(rows: list[Row], heldout_share: float, test_share: float, seed: int) -> dict[str, list[Row]]:
    """Split so that each label (one group where there are none) has the same shares on every side."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.get("label", "")].append(row)
    split: Split = {"train": [], "heldout": [], "test": []}
    labels = sorted(groups)
    sizes = [len(groups[label]) for label in labels]
    tests, helds = _shares(sizes, test_share), _shares(sizes, heldout_share)
    for label, test, held in zip(labels, tests, helds, strict=True):
        members = sorted(groups[label], key=lambda row: short_hash(str(seed), row["id"]))
        test = min(test, len(members) - 1)  # a class that training lacks could not be predicted
        held = min(held, len(members) - 1 - test)
        split["test"] += members[:test]
        split["heldout"] += members[test : test + held]
        split["train"] += members[test + held :]
    order = random.Random(seed)
    for side in split.values():
        order.shuffle(side)
    return split


def by_group(rows: list[Row], heldout_share: float, test_share: float, seed: int) -> Split:
    """Split by whole groups, drawn by the seed, so that no row of training depends on a test row.

    A group whose label no training row has goes to training; one group at least does.
    """
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.get(GROUP, f"row {row['id']}")].append(row)
    order = sorted(groups, key=lambda group: short_hash(str(seed), group))
    drawn: dict[str, list[str]] = {"test": [], "heldout": []}
    for side, share in (("test", test_share), ("heldout", heldout_share)):
        wanted, count = share * len(rows), 0
        for name in list(order) if share else []:
            # Nearer to the share with the group than without it; a group that is too large leaves room to the next.
            if len(order) > 1 and count + len(groups[name]) / 2 <= wanted:
                count += len(groups[name])
                drawn[side].append(name)
                order.remove(name)
    known = {row.get("label") for group in order for row in groups[group]}
    for side, names in drawn.items():
        lacking = [name for name in names if any(row.get("label") not in known for row in groups[name])]
        order += lacking
        drawn[side] = [name for name in names if name not in lacking]
    generator = random.Random(seed)
    split: Split = {}
    for side, names in (("train", order), ("heldout", drawn["heldout"]), ("test", drawn["test"])):
        split[side] = [row for name in names for row in groups[name]]
        generator.shuffle(split[side])
    return split


def _shares(sizes: list[int], share: float) -> list[int]:
    """Rows to draw from groups of these sizes: each group's share, rounded.

    Where every group is so small that its share rounds to nothing, fractions are carried to the next group.
    """
    counts = [round(size * share) for size in sizes]
    if any(counts):
        return counts
    ends = [round(sum(sizes[: at + 1]) * share) for at in range(len(sizes))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]
