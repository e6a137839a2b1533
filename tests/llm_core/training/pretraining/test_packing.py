"""Packing: every token once, best fit as worked by hand and by a plain reference."""

import numpy as np
import pytest

from llm_core.training.pretraining import packing
from llm_core.training.pretraining.packing import _assign, plan


def covered(made: packing.Plan, lengths: np.ndarray) -> None:
    seen = [np.zeros(length, int) for length in lengths]
    for document, start, length in zip(made.document, made.start, made.length, strict=True):
        seen[document][start : start + length] += 1
    assert all((count == 1).all() for count in seen)


@pytest.mark.parametrize("kind", ["best_fit", "concatenate"])
def test_every_token_stands_in_one_sequence(kind: packing.Packing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "GROUP", 64)  # several groups
    lengths = np.random.default_rng(0).integers(0, 90, 300)
    made = plan(lengths, 32, kind, seed=1)
    covered(made, lengths)
    used = np.add.reduceat(made.length, made.first[:-1])
    assert used.max() <= 32 and made.first[-1] == len(made.document) and (np.diff(made.first) > 0).all()


def test_concatenation_fills_every_sequence_but_the_last() -> None:
    made = plan(np.array([5, 9, 4, 20]), 8, "concatenate", seed=1)
    assert np.add.reduceat(made.length, made.first[:-1]).tolist() == [8, 8, 8, 8, 6]


def test_best_fit_by_hand() -> None:
    # 10 opens A (6 left of 16), 9 opens B (7 left), 7 fits B exactly, 6 fits A exactly, 3 opens C
    assert _assign(np.array([10, 9, 7, 6, 3]), 16).tolist() == [0, 1, 1, 0, 2]


def test_best_fit_against_a_plain_search() -> None:
    lengths = np.sort(np.random.default_rng(3).integers(1, 50, 400))[::-1].copy()
    rooms: list[int] = []
    for length, chosen in zip(lengths.tolist(), _assign(lengths, 49).tolist(), strict=True):
        fitting = [room for room in rooms if room >= length]
        if not fitting:
            assert chosen == len(rooms)
            rooms.append(49)
        else:
            assert rooms[chosen] == min(fitting)
        rooms[chosen] -= length


def test_a_document_that_fits_is_never_cut() -> None:
    lengths = np.random.default_rng(1).integers(1, 33, 500)
    made = plan(lengths, 32, "best_fit", seed=1)
    assert (made.start == 0).all() and (made.length == lengths[made.document]).all()


def test_no_documents() -> None:
    assert len(plan(np.zeros(0, np.int64), 8, "best_fit", 1).first) == 1
