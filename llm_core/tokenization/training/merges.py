"""BPE training: which pairs to merge, in which order, from counted pieces of text.

The algorithm of `tokenizers`' BpeTrainer, step for step, compiled: a heap of pairs with
lazily corrected counts, ties to the smaller pair of ids, and for each pair the pieces that
contain it, so that a merge touches only those. Two details are kept because the ids must be
identical: counts of a pair include overlapping occurrences ("aaa" counts "aa" twice), and
a merge whose text is already a token takes that token's id.
"""

import numpy as np
import numpy.typing as npt

from llm_core.kernels.arrays import Ints
from llm_core.kernels.hashing import hash_bytes
from llm_core.kernels.tables import FREE, number_place
from llm_core.kernels.word_table import same_bytes
from llm_core.runtime.compilation import njit

NONE = FREE


def learn_merges(
    arena: npt.NDArray[np.uint8], starts: Ints, counts: Ints, byte_ids: Ints, first_id: int, vocab_size: int
) -> Ints:
    """Merges as pairs of ids, int64 [merges, 2], until there are `vocab_size` ids or nothing is left to merge.

    `arena` (uint8 [bytes]), `starts` (int64 [pieces + 1]) and `counts` (int64 [pieces]) are `PieceCounts.result()`;
    `byte_ids` (int64 [256]) is the id of each byte; a new token takes the next id from `first_id` on.
    """
    return _learn(byte_ids[arena].astype(np.int32), starts, counts, byte_ids, first_id, vocab_size)


@njit(inline="always")
def _above(counts: Ints, pairs: Ints, i: int, j: int) -> bool:
    """Whether heap entry i comes before j: higher count, then smaller pair (int64 [entries] both)."""
    return counts[i] > counts[j] or (counts[i] == counts[j] and pairs[i] < pairs[j])


@njit()
def _swap(heap: Ints, i: int, j: int) -> None:
    """Exchange entries i and j of a heap, int64 [3, capacity]: counts, pairs and the newest occurrences."""
    for row in range(3):
        heap[row, i], heap[row, j] = heap[row, j], heap[row, i]


@njit()
def _push(heap: Ints, size: int, count: int, pair: int, occurrences: int) -> int:
    """Add an entry to a heap of `size` entries; returns the new size."""
    heap[0, size], heap[1, size], heap[2, size] = count, pair, occurrences
    i = size
    while i > 0 and _above(heap[0], heap[1], i, (i - 1) // 2):
        _swap(heap, i, (i - 1) // 2)
        i = (i - 1) // 2
    return size + 1


@njit()
def _sink(heap: Ints, size: int) -> None:
    """Move the first entry of a heap down to its place."""
    i = 0
    while True:
        best = i
        for child in (2 * i + 1, 2 * i + 2):
            if child < size and _above(heap[0], heap[1], child, best):
                best = child
        if best == i:
            return
        _swap(heap, i, best)
        i = best


@njit()
def _grown(array: Ints, size: int) -> Ints:
    """A copy of length `size`, the new part filled with NONE."""
    larger = np.full(size, NONE, np.int64)
    larger[: len(array)] = array
    return larger


@njit()
def _learn(
    symbols: npt.NDArray[np.int32], starts: Ints, counts: Ints, byte_ids: Ints, first_id: int, vocab_size: int
) -> Ints:
    """See `learn_merges`; `symbols` (int32 [bytes]) are the ids of the pieces' bytes, which merges overwrite."""
    lengths = starts[1:] - starts[:-1]
    # pairs: a table from key (left << 32 | right) to its count and the newest of its occurrences of this round
    keys = np.full(1 << 16, NONE, np.int64)
    totals, newest = np.zeros(len(keys), np.int64), np.full(len(keys), NONE, np.int64)
    pairs = 0
    # occurrences: linked lists of pieces, with a list of the free ones
    piece_of, next_of = np.full(1 << 16, NONE, np.int64), np.full(1 << 16, NONE, np.int64)
    taken, free = 0, NONE
    touched = np.zeros(1 << 12, np.int64)  # keys to put on the heap at the end of this round
    heap, size = np.zeros((3, 1 << 16), np.int64), 0
    merges = np.zeros((max(vocab_size - first_id, 0), 2), np.int64)
    done, next_id = 0, first_id
    # tokens' texts, to recognise a merge whose text is a token already
    texts, text_starts = np.zeros(1 << 16, np.uint8), np.zeros(max(vocab_size, first_id) + 1, np.int64)
    for byte in range(256):
        texts[byte_ids[byte]] = byte
    for token in range(first_id):
        text_starts[token + 1] = token + 1
    slots = 1 << 12
    while slots < 2 * vocab_size:
        slots *= 2
    by_text = np.full(slots, NONE, np.int64)
    changes = np.zeros((3, 1 << 12), np.int64)  # key, change, piece

    left, right, new, occurrence = NONE, NONE, NONE, NONE
    first_round = True
    piece = 0
    while True:
        # 1. the changes that a merge (in the first round: the pieces themselves) makes to the pair counts
        touches = 0
        while piece != NONE and piece < len(counts):
            base, length = starts[piece], lengths[piece]
            if 4 * length > changes.shape[1]:
                changes = np.zeros((3, 8 * length), np.int64)
            made = 0
            if first_round:
                for i in range(length - 1):
                    changes[0, made] = (np.int64(symbols[base + i]) << 32) | np.int64(symbols[base + i + 1])
                    changes[1, made] = 1
                    made += 1
            else:
                read, write = 0, 0
                while read < length:
                    symbol = np.int64(symbols[base + read])
                    if symbol == left and read + 1 < length and symbols[base + read + 1] == right:
                        if write > 0:
                            before = np.int64(symbols[base + write - 1]) << 32
                            changes[0, made], changes[1, made] = before | left, -1
                            changes[0, made + 1], changes[1, made + 1] = before | new, 1
                            made += 2
                        if read + 2 < length:
                            after = np.int64(symbols[base + read + 2])
                            changes[0, made], changes[1, made] = (right << 32) | after, -1
                            changes[0, made + 1], changes[1, made + 1] = (new << 32) | after, 1
                            made += 2
                        symbol = np.int64(new)
                        read += 1
                    symbols[base + write] = symbol
                    read += 1
                    write += 1
                lengths[piece] = write
            # 2. into the pair table, and the piece onto the lists of pairs that grew
            for i in range(made):
                key = changes[0, i]
                if 2 * (pairs + 1) > len(keys):
                    old_keys, old_totals, old_newest = keys, totals, newest
                    keys = np.full(2 * len(old_keys), NONE, np.int64)
                    totals, newest = np.zeros(len(keys), np.int64), np.full(len(keys), NONE, np.int64)
                    for old in range(len(old_keys)):
                        if old_keys[old] != NONE:
                            slot = number_place(keys, old_keys[old])
                            keys[slot], totals[slot], newest[slot] = old_keys[old], old_totals[old], old_newest[old]
                slot = number_place(keys, key)
                if keys[slot] == NONE:
                    keys[slot] = key
                    pairs += 1
                totals[slot] += changes[1, i] * counts[piece]
                if changes[1, i] > 0 and (newest[slot] == NONE or piece_of[newest[slot]] != piece):
                    if newest[slot] == NONE:
                        if touches == len(touched):
                            touched = _grown(touched, 2 * len(touched))
                        touched[touches] = key
                        touches += 1
                    if free != NONE:
                        entry = free
                        free = next_of[free]
                    else:
                        if taken == len(piece_of):
                            piece_of, next_of = _grown(piece_of, 2 * taken), _grown(next_of, 2 * taken)
                        entry = taken
                        taken += 1
                    piece_of[entry], next_of[entry] = piece, newest[slot]
                    newest[slot] = entry
            # 3. the next piece
            if first_round:
                piece += 1
            else:
                following = next_of[occurrence]
                next_of[occurrence] = free
                free = occurrence
                occurrence = following
                piece = piece_of[occurrence] if occurrence != NONE else NONE
        # 4. pairs that grew go onto the heap
        for i in range(touches):
            slot = number_place(keys, touched[i])
            if totals[slot] > 0:
                if size == heap.shape[1]:
                    larger = np.zeros((3, 2 * size), np.int64)
                    larger[:, :size] = heap
                    heap = larger
                size = _push(heap, size, totals[slot], touched[i], newest[slot])
            newest[slot] = NONE
        first_round = False
        # 5. the most frequent pair, its count brought up to date
        found = False
        while size > 0 and next_id < vocab_size:
            current = totals[number_place(keys, heap[1, 0])]
            if heap[0, 0] != current:
                heap[0, 0] = current
                _sink(heap, size)
                continue
            found = current >= 1
            break
        if not found:
            return merges[:done]
        left, right, occurrence = heap[1, 0] >> 32, heap[1, 0] & 0xFFFFFFFF, heap[2, 0]
        size -= 1
        _swap(heap, 0, size)
        _sink(heap, size)
        # 6. its token: the one of that text, or a new one
        first, middle = text_starts[left], text_starts[left + 1]
        tail = text_starts[right + 1] - text_starts[right]
        end = text_starts[next_id]
        while end + (middle - first) + tail > len(texts):
            more = np.zeros(2 * len(texts), np.uint8)
            more[: len(texts)] = texts
            texts = more
        stop = end
        for i in range(first, middle):
            texts[stop] = texts[i]
            stop += 1
        for i in range(text_starts[right], text_starts[right + 1]):
            texts[stop] = texts[i]
            stop += 1
        new = _token(texts, text_starts, by_text, end, stop, next_id)
        if new == next_id:
            text_starts[next_id + 1] = stop
            next_id += 1
        if done == len(merges):
            more_merges = np.zeros((2 * done + 1, 2), np.int64)
            more_merges[:done] = merges
            merges = more_merges
        merges[done, 0], merges[done, 1] = left, right
        done += 1
        piece = piece_of[occurrence]


@njit()
def _token(texts: npt.NDArray[np.uint8], starts: Ints, by_text: Ints, start: int, stop: int, next_id: int) -> int:
    """Id of the token with the text `start:stop`, added as `next_id` where there is none."""
    mask = np.uint64(len(by_text) - 1)
    slot = hash_bytes(texts, start, stop) & mask
    while by_text[slot] != NONE:
        token = by_text[slot]
        size = starts[token + 1] - starts[token]
        if size == stop - start and same_bytes(texts, starts[token], texts, start, stop):
            return token
        slot = (slot + np.uint64(1)) & mask
    by_text[slot] = next_id
    return next_id
