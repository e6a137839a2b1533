"""Which texts belong together: a forest in which each tree is a cluster (union-find), kept on disk.

The root of a tree is the smallest number in it, so that neither the order of the unions nor their number of rounds
decides what a cluster is called.
"""

from pathlib import Path

import numpy as np

from llm_core.formats.disk_columns import ROWS_AT_ONCE, Column, divide, numbers
from llm_core.kernels.arrays import Hashes, Ints
from llm_core.runtime.compilation import njit
from llm_core.runtime.memory import memory_share

DOCUMENT_BYTES = 64  # of memory for each document of a part: its key and text, their copies, and the order


def new_forest(folder: Path, count: int) -> Ints:
    """A union-find forest in which each of `count` texts is a tree of its own: int64 [count], parents, on disk."""
    return numbers(folder, count).values


@njit()
def find(forest: Ints, number: int) -> int:
    """Root of a text's tree, the smallest number in it; `forest`: int64 [texts], parents."""
    while forest[number] != number:
        forest[number] = forest[forest[number]]
        number = forest[number]
    return number


@njit()
def unite(forest: Ints, first: Ints, second: Ints) -> None:
    """Join the trees of each pair (first[i], second[i]), int64 [pairs] both."""
    for place in range(len(first)):
        a, b = find(forest, first[place]), find(forest, second[place])
        forest[max(a, b)] = min(a, b)


@njit()
def labels(forest: Ints) -> Ints:
    """Turn the forest into the number of each text's cluster, int64 [texts]: 0, 1, … by their first texts."""
    for number in range(len(forest)):
        forest[number] = find(forest, number)
    count = 0
    for number in range(len(forest)):
        if forest[number] == number:
            forest[number] = count
            count += 1
        else:
            forest[number] = forest[forest[number]]  # its root comes before it and has its label
    return forest


def unite_equal(forest: Ints, keys: Hashes, texts: Ints, folder: Path, memory_mb: int) -> None:
    """Join the texts whose documents have equal keys, by parts of the key space that fit the memory.

    Scratch files are in `folder`. `keys`: uint64 [documents], 0 for none; `texts`: int64 [documents], -1 for none.
    """
    with_keys = Column(folder, np.uint64, 2)
    for start in range(0, len(keys), ROWS_AT_ONCE):
        here, there = keys[start : start + ROWS_AT_ONCE], texts[start : start + ROWS_AT_ONCE]
        some = (here != 0) & (there >= 0)
        with_keys.append(np.column_stack([here[some], there[some].view(np.uint64)]))
    parts = 1 + len(with_keys) * DOCUMENT_BYTES // memory_share(memory_mb)
    for rows in divide(with_keys, lambda rows: rows[:, 0] % np.uint64(parts), parts, folder):
        order = np.argsort(rows[:, 0], kind="stable")
        found, joined = rows[order, 0], rows[order, 1].view(np.int64)
        same = found[1:] == found[:-1]
        unite(forest, joined[:-1][same], joined[1:][same])
