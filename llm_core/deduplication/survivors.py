"""Which document of a cluster is kept: the first by source priority, then the longest, then the least id.

The order is total and knows nothing of files or workers, so every engine keeps the same.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Verdicts(NamedTuple):
    """For each document: int64 [documents] each."""

    survivor: npt.NDArray[np.int64]
    """number of the document kept in its cluster (its own where it is the one)"""
    label: npt.NDArray[np.int64]
    """number of the cluster's document of least id, which names the cluster"""
    size: npt.NDArray[np.int64]
    """documents in its cluster"""


def elect(
    labels: npt.NDArray[np.int64],
    priority: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    ranks: npt.NDArray[np.int64],
) -> Verdicts:
    """Choose the survivors of clusters.

    `labels` names each document's cluster, `priority` its source's rank (0 first), `lengths`
    its text's bytes, `ranks` its place by id; int64 [documents] each.
    """
    order = np.lexsort((ranks, -lengths, priority, labels))
    firsts = order[np.flatnonzero(np.diff(labels[order], prepend=-1))]
    clusters = int(labels.max(initial=-1)) + 1
    survivor = np.zeros(clusters, np.int64)
    survivor[labels[firsts]] = firsts
    by_id = np.lexsort((ranks, labels))
    least = np.zeros(clusters, np.int64)
    heads = by_id[np.flatnonzero(np.diff(labels[by_id], prepend=-1))]
    least[labels[heads]] = heads
    return Verdicts(survivor[labels], least[labels], np.bincount(labels, minlength=clusters)[labels])
