"""Digests of runs of numbers equal hashlib's."""

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm_core.kernels.blake2b import digests


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=50), max_size=8))
def test_each_run_has_hashlibs_digest(runs):
    words, counts = np.array([word for run in runs for word in run], np.uint64), np.array([*map(len, runs)], np.int64)
    data = [np.array(run, "<u8").tobytes() for run in runs]
    known = [hashlib.blake2b(run, digest_size=16).digest() if run else bytes(16) for run in data]
    assert [row.tobytes() for row in digests(words, counts)] == known
