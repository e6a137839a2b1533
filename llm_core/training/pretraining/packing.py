"""Assigns pieces of documents to training sequences.

`best_fit`: documents longer than a sequence are cut into full sequences and a remainder;
remainders, longest first, go where they leave the smallest room (Ding et al. 2024, "Fewer
Truncations Improve Language Modeling"). No document that fits into a sequence is cut.
`concatenate`: documents end to end, cut every `sequence_length` tokens: no padding, but
most sequences begin in the middle of a document.

Either way every token of the corpus is in exactly one sequence. Documents are packed
in a shuffled order, in groups of `GROUP`, so that neighbours come from all sources and the
working memory is bounded. The plan itself takes 16 bytes per piece: 1.6 GB for 10^8 documents.
"""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from llm_core.kernels.arrays import Ints
from llm_core.runtime.compilation import njit
from llm_core.training.pretraining.permutation import Permutation

GROUP = 1 << 18
Packing = Literal["best_fit", "concatenate"]


class Plan(NamedTuple):
    """Sequence `s` holds the pieces `first[s]` to `first[s + 1]`, in this order."""

    first: Ints
    """int64 [sequences + 1]"""
    document: Ints
    """int64 [pieces]: number of the document"""
    start: npt.NDArray[np.int32]
    """int32 [pieces]: first token of the piece within its document"""
    length: npt.NDArray[np.int32]
    """int32 [pieces]: tokens of the piece"""


def plan(lengths: Ints, sequence_length: int, packing: Packing, seed: int) -> Plan:
    """Pack documents of `lengths` tokens (int64 [documents]) into sequences of `sequence_length` slots."""
    order = Permutation(max(len(lengths), 1), seed, "documents")
    parts = []
    for begin in range(0, len(lengths), GROUP):
        documents = order(np.arange(begin, min(begin + GROUP, len(lengths))))
        documents = documents[lengths[documents] > 0]
        if packing == "best_fit":
            parts.append(_best_fit(documents, lengths[documents], sequence_length))
        else:
            parts.append(_concatenate(documents, lengths[documents], sequence_length))
    return join(parts)


def plan_passes(lengths: Ints, passes: list[Ints], sequence_length: int, packing: Packing, seed: int) -> Plan:
    """Pack the documents of each pass (their numbers, int64) by themselves, so that copies share no sequence."""
    plans = [plan(lengths[documents], sequence_length, packing, seed) for documents in passes]
    return join(
        [part._replace(document=documents[part.document]) for part, documents in zip(plans, passes, strict=True)]
    )


def join(parts: list[Plan]) -> Plan:
    """The sequences of all `parts`, one part after another."""
    if not parts:
        empty = np.zeros(0, np.int32)
        return Plan(np.zeros(1, np.int64), np.zeros(0, np.int64), empty, empty)
    shifts = np.cumsum([0] + [len(part.document) for part in parts])
    first = [part.first[:-1] + shift for part, shift in zip(parts, shifts, strict=False)]
    return Plan(
        np.concatenate([*first, shifts[-1:]]).astype(np.int64),
        np.concatenate([part.document for part in parts]),
        np.concatenate([part.start for part in parts]),
        np.concatenate([part.length for part in parts]),
    )


def _best_fit(documents: Ints, lengths: Ints, sequence_length: int) -> Plan:
    pieces = -(-lengths // sequence_length)
    document = np.repeat(documents, pieces)
    number = np.arange(len(document)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    start = number * sequence_length
    length = np.minimum(np.repeat(lengths, pieces) - start, sequence_length)
    longest_first = np.argsort(-length, kind="stable")
    sequence = np.empty(len(document), np.int64)
    sequence[longest_first] = _assign(length[longest_first], sequence_length)
    order = np.argsort(sequence, kind="stable")
    counts = np.bincount(sequence)
    first = np.concatenate([[0], np.cumsum(counts)])
    return Plan(first, document[order], start[order].astype(np.int32), length[order].astype(np.int32))


@njit()
def _assign(lengths: Ints, capacity: int) -> Ints:
    """Best fit: for each length (int64 [pieces]) in turn, the fullest open sequence with room for it, else a new one.

    Returns the number of each piece's sequence: int64 [pieces]; `capacity` is the length of a sequence in tokens.
    A binary tree over the free room (0 … capacity) finds the next non-empty class,
    so each length costs O(log capacity).
    """
    leaves = 1
    while leaves < capacity + 1:
        leaves *= 2
    tree = np.zeros(2 * leaves, np.int64)  # number of open sequences below each node
    newest = np.full(capacity + 1, -1, np.int64)  # a stack of sequences for each amount of free room
    below = np.full(len(lengths), -1, np.int64)
    sequence = np.empty(len(lengths), np.int64)
    count = 0
    for i in range(len(lengths)):
        length = lengths[i]
        node = leaves + length
        found = tree[node] > 0
        while not found and node > 1:  # up, until a right neighbour is not empty, then down to its leftmost leaf
            if node % 2 == 0 and tree[node + 1] > 0:
                node += 1
                while node < leaves:
                    node *= 2
                    if tree[node] == 0:
                        node += 1
                found = True
            else:
                node //= 2
        if found:
            room = node - leaves
            chosen = newest[room]
            newest[room] = below[chosen]
            while node >= 1:
                tree[node] -= 1
                node //= 2
        else:
            chosen, room = count, capacity
            count += 1
        sequence[i] = chosen
        room -= length
        if room > 0:
            below[chosen] = newest[room]
            newest[room] = chosen
            node = leaves + room
            while node >= 1:
                tree[node] += 1
                node //= 2
    return sequence


def _concatenate(documents: Ints, lengths: Ints, sequence_length: int) -> Plan:
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.union1d(np.arange(0, total, sequence_length), ends - lengths)  # places where pieces begin
    which = np.searchsorted(ends, cuts, side="right")
    start = cuts - (ends - lengths)[which]
    length = np.diff(np.append(cuts, total))
    first = np.searchsorted(cuts, np.arange(0, total, sequence_length))
    return Plan(
        np.append(first, len(cuts)).astype(np.int64), documents[which], start.astype(np.int32), length.astype(np.int32)
    )
