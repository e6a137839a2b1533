"""The computed permutation: a bijection, keyed, and well mixed."""

import numpy as np
import pytest

from llm_core.training.pretraining.permutation import Permutation


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 1000, 4097])
def test_every_position_is_met_once(size: int) -> None:
    assert sorted(Permutation(size, 7)(np.arange(size)).tolist()) == list(range(size))


def test_key_decides_and_one_position_at_a_time_agrees() -> None:
    order = Permutation(1000, 7, "epoch", 0)
    everything = order(np.arange(1000))
    assert [int(order(i)) for i in (0, 13, 999)] == everything[[0, 13, 999]].tolist()
    assert (everything == Permutation(1000, 7, "epoch", 0)(np.arange(1000))).all()
    assert (everything == Permutation(1000, 7, "epoch", 1)(np.arange(1000))).mean() < 0.02


def test_neighbours_part() -> None:
    size = 1 << 16
    moved = Permutation(size, 1)(np.arange(size))
    correlation = np.corrcoef(moved[:-1], moved[1:])[0, 1]
    assert abs(correlation) < 0.02  # 5 standard errors of an independent shuffle
    assert abs(np.corrcoef(np.arange(size), moved)[0, 1]) < 0.02


def test_beyond_32_bits() -> None:
    size = 10**12
    moved = Permutation(size, 1)(np.array([0, 1, size - 1]))
    assert len(set(moved.tolist())) == 3 and moved.min() >= 0 and moved.max() < size


def test_outside_the_range_is_an_error() -> None:
    with pytest.raises(IndexError):
        Permutation(10, 1)([10])


@pytest.mark.parametrize("size", [1, 2, 5, 64, 1000])
def test_the_inverse_leads_back(size: int) -> None:
    permutation = Permutation(size, 7, "there and back")
    positions = np.arange(size)
    assert permutation.inverse(permutation(positions)).tolist() == positions.tolist()
