"""Which document of a cluster is kept: the first by source priority, then the longest, then the least id.

The order is total and knows nothing of files or workers, so every engine keeps the same. One pass
over the documents finds it, with three numbers a cluster.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from llm_core.corpus.deduplication.corpus import Corpus
from llm_core.formats.disk_columns import Column
from llm_core.kernels.arrays import Bytes, Ints
from llm_core.kernels.order import string_before
from llm_core.runtime.compilation import njit


class Verdicts(NamedTuple):
    """For each of some documents: int64 [documents] each."""

    survivor: Ints
    """number of the document kept in its cluster (its own where it is the one)"""
    label: Ints
    """number of the cluster's document of least id, which names the cluster"""
    size: Ints
    """documents in its cluster"""


def source_ranks(priority: list[str]) -> dict[str, int]:
    """Rank of each source that `priority` names, 0 the most preferred; one named twice has the first."""
    return {source: place for place, source in reversed(list(enumerate(priority)))}


class Survivors:
    """Of each cluster of texts the document that is kept; `clusters` is the cluster of each text: int64 [texts]."""

    def __init__(self, corpus: Corpus, clusters: Ints, priority: list[str], folder: Path) -> None:
        self._stored, self._clusters = corpus.stored.values, clusters
        survivor, label, size = (Column(folder, np.int64) for _ in Verdicts._fields)
        for column in (survivor, label, size):
            column.resize(int(clusters.max(initial=-1)) + 1)
        self._of_cluster = Verdicts(survivor.values, label.values, size.values)
        places = source_ranks(priority)
        ranks = np.array([places.get(source, len(priority)) for source in corpus.sources] or [0], np.int64)
        documents = (corpus.kept.values, ranks, corpus.source.values, corpus.length.values, *corpus.ids.buffers)
        _elect(self._stored, clusters, *documents, *self._of_cluster)

    def of(self, numbers: Ints) -> Verdicts:
        """Of the documents `numbers` (int64 [n]); one that was removed or has no words is a cluster of its own."""
        stored = self._stored[numbers]
        there = stored >= 0
        clusters = self._clusters[stored[there]]
        found = Verdicts(numbers.copy(), numbers.copy(), np.ones(len(numbers), np.int64))
        for column, of_cluster in zip(found, self._of_cluster, strict=True):
            column[there] = of_cluster[clusters]
        return found

    def clusters(self) -> int:
        """Clusters of two documents or more."""
        return int(np.count_nonzero(self._of_cluster.size > 1))


@njit()
def _elect(
    stored: Ints,
    clusters: Ints,
    was_kept: npt.NDArray[np.bool_],
    ranks: Ints,
    sources: npt.NDArray[np.int32],
    lengths: Ints,
    starts: Ints,
    ids: Bytes,
    survivor: Ints,
    label: Ints,
    size: Ints,
) -> None:
    """Fill the columns of `Verdicts` for each cluster; a document that an earlier run kept stays, whatever its rank.

    By document: `stored` int64 (place of its text, -1 for none), `was_kept` bool [documents of earlier runs], `sources`
    int32, `lengths` int64. `clusters`: int64 [texts]. `ranks`: int64 [sources]. Document i has the id
    `ids[starts[i]:starts[i + 1]]` (uint8). `survivor`, `label` and `size`: int64 [clusters], written.
    """
    for document in range(len(stored)):
        if stored[document] < 0:
            continue
        cluster = clusters[stored[document]]
        size[cluster] += 1
        if size[cluster] == 1:
            survivor[cluster] = label[cluster] = document
            continue
        best = survivor[cluster]
        order = _rank(document, was_kept, ranks, sources) - _rank(best, was_kept, ranks, sources)
        if order == 0:
            order = lengths[best] - lengths[document]
        if order < 0 or (order == 0 and string_before(starts, ids, document, best)):
            survivor[cluster] = document
        if string_before(starts, ids, document, label[cluster]):
            label[cluster] = document


@njit()
def _rank(document: int, was_kept: npt.NDArray[np.bool_], ranks: Ints, sources: npt.NDArray[np.int32]) -> int:
    """Rank of a document, the smallest first: kept by an earlier run, seen by one, then by its source."""
    if document < len(was_kept):
        return -2 if was_kept[document] else -1
    return int(ranks[sources[document]])
