import math

import numpy as np
import pytest

from llm_core.evaluation.statistics import detectable, mean_and_error, paired_bootstrap, ratio_and_error


def test_mean_and_error_by_hand() -> None:
    mean, error = mean_and_error([1, 1, 0, 0])
    assert mean == 0.5
    assert error == pytest.approx(math.sqrt((4 * 0.25 / 3) / 4))


def test_one_item_has_no_error() -> None:
    assert math.isnan(mean_and_error([1.0])[1])


def test_a_ratio_of_equal_documents_has_the_error_of_the_mean() -> None:
    bits = [10.0, 14.0, 12.0, 20.0]
    ratio, error = ratio_and_error(bits, [8, 8, 8, 8])
    mean, expected = mean_and_error(bits)
    assert ratio == pytest.approx(mean / 8)
    assert error == pytest.approx(expected / 8)


def test_paired_items_cancel_what_is_hard_for_both() -> None:
    hardness = np.random.default_rng(0).normal(0, 10, 300)
    found = paired_bootstrap(hardness + 0.5, hardness, resamples=200)
    assert found.difference == pytest.approx(0.5)
    assert found.low == pytest.approx(0.5) and found.high == pytest.approx(0.5)
    assert found.share == 1.0


def test_bootstrap_interval_is_near_the_normal_one() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.normal(0.3, 1, 500), generator.normal(0, 1, 500)
    found = paired_bootstrap(a, b, resamples=4000, seed=3)
    mean, error = mean_and_error(a - b)
    assert found.low == pytest.approx(mean - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(mean + 1.96 * error, abs=0.15 * error)
    assert found.detectable == pytest.approx(2.8016 * error, rel=0.05)


def test_equal_models_differ_by_nothing_and_other_items_are_refused() -> None:
    assert paired_bootstrap([1, 0, 1], [1, 0, 1]).share == 0.0
    with pytest.raises(ValueError, match="same items"):
        paired_bootstrap([1, 0], [1])


def test_detectable_is_found_in_four_of_five_samples() -> None:
    generator = np.random.default_rng(2)
    true = detectable(1.0)
    assert np.mean(np.abs(generator.normal(true, 1, 20_000)) > 1.96) == pytest.approx(0.8, abs=0.01)
