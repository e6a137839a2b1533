"""The table of two bits counts what a dictionary counts."""

from collections import Counter

import numpy as np

from llm_core.corpus.similarity.shared_keys import EACH, count_keys, key_counts, may_be_shared


def test_the_keys_whose_slot_is_shared_are_found() -> None:
    draw = np.random.default_rng(0)
    keys = draw.integers(0, 1 << 64, 5000, dtype=np.uint64)
    sizes = draw.integers(0, 4, 5000)  # a quarter has no shingles, and is not counted
    met = key_counts(5000, 1 << 13)
    slots = EACH * len(met)
    assert slots == 1 << 13
    count_keys(keys[:3000], sizes[:3000], met)
    count_keys(keys[3000:], sizes[3000:], met)
    places = (keys >> np.uint64(32)) % np.uint64(slots)
    counts = Counter(places[sizes > 0].tolist())
    wanted = [row for row in range(5000) if sizes[row] and counts[int(places[row])] > 1]
    assert len(wanted) > 1000
    assert may_be_shared(keys, sizes, met).tolist() == wanted
