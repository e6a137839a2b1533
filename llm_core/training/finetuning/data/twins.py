"""Near-duplicates across the sides of a split. A test row nearly identical to a training row measures memorisation.

Candidates by MinHash of word 3-grams (16 bands of 4 rows: a pair at similarity 0.8 is found with
probability 0.9998), confirmed by the exact Jaccard similarity. The training row is kept, its twin removed.
"""

import zlib
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from llm_core.kernels.words import words as words_of

BANDS, ROWS = 16, 4
PRIME = (1 << 61) - 1


def shingles(text: str) -> frozenset[int]:
    """32-bit hashes of the word 3-grams of `text` (of the words, where it has fewer than 3)."""
    words = words_of(text)
    grams = [" ".join(words[at : at + 3]) for at in range(len(words) - 2)] or words or [text]
    return frozenset(zlib.crc32(gram.encode()) for gram in grams)


def remove_twins(split: dict[str, list[Any]], text_of: Callable[[Any], str], similarity: float) -> dict[str, int]:
    """Remove, in place, held-out rows similar to a training row and test rows similar to a training or held-out row;
    counts by side.
    """
    generator = np.random.default_rng(0)
    factors = generator.integers(1, 1 << 31, BANDS * ROWS, dtype=np.uint64)
    shifts = generator.integers(0, 1 << 31, BANDS * ROWS, dtype=np.uint64)
    buckets: dict[tuple[int, bytes], list[frozenset[int]]] = defaultdict(list)
    removed = {}
    for side in ("train", "heldout", "test"):
        kept, fresh = [], []
        for row in split[side]:
            grams = shingles(text_of(row))
            values = np.fromiter(grams, np.uint64, len(grams))
            signature = ((values[:, None] * factors + shifts) % np.uint64(PRIME)).min(0).reshape(BANDS, ROWS)
            keys = [(band, signature[band].tobytes()) for band in range(BANDS)]
            twin = side != "train" and any(
                jaccard(grams, other) >= similarity for key in keys for other in buckets.get(key, ())
            )
            if not twin:
                kept.append(row)
                fresh.append((keys, grams))
        for keys, grams in fresh:
            for key in keys:
                buckets[key].append(grams)
        removed[side] = len(split[side]) - len(kept)
        split[side] = kept
    return removed


def jaccard(one: frozenset[int], other: frozenset[int]) -> float:
    """Jaccard similarity of two sets."""
    return len(one & other) / max(len(one | other), 1)
