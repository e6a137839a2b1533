"""Verdicts on numbers that can be checked by hand, and their rate of false alarms."""

import numpy as np
import pytest
from scipy import stats

from llm_core.training.ablation.verdict import paired, verdict


def test_the_interval_is_students_paired_one():
    first, second = [2.0, 2.1, 2.3, 2.2], [2.1, 2.15, 2.5, 2.25]
    found = paired(first, second, 0.95)
    reference = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert found.mean == pytest.approx(-0.1)
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high))
    with pytest.raises(ValueError, match="two seeds"):
        paired([1.0], [1.0], 0.95)


def test_a_treatment_must_beat_the_control_and_the_negative_control():
    control = [2.50, 2.52, 2.48, 2.51, 2.49]
    lower = [value - 0.1 + shift for value, shift in zip(control, (0.01, -0.01, 0.0, 0.005, -0.005), strict=True)]
    assert verdict(control, lower, control, 0.95) == "better"
    assert verdict(lower, control, lower, 0.95) == "worse"
    assert verdict(control, control[::-1], control, 0.95) == "not distinguishable from the control"
    assert verdict(control, lower, lower, 0.95).startswith("not distinguishable from the negative control")


def test_of_pairs_without_a_difference_at_most_one_in_twenty_is_called_real():
    generator = np.random.default_rng(0)
    called = 0
    for _ in range(600):
        base = generator.normal(2.5, 0.02, 5)  # what a seed does to all arms alike
        arms = [base + generator.normal(0, 0.01, 5) for _ in range(3)]
        called += verdict(*arms, 0.95) in ("better", "worse")
    assert called / 600 < 0.05
