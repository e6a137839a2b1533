import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_core.evaluation.statistics import (
    clustered,
    detectable,
    detectable_difference,
    independent,
    interval,
    mean_and_error,
    paired_bootstrap,
    ratio_and_error,
    scored,
)
from llm_core.runtime.shares import wilson


def test_mean_and_error_by_hand() -> None:
    mean, error = mean_and_error([1, 1, 0, 0])
    assert mean == 0.5
    assert error == pytest.approx(math.sqrt((4 * 0.25 / 3) / 4))


def test_values_of_three_groups_have_the_error_of_the_groups_by_hand() -> None:
    mean, low, high = clustered([1, 1, 0, 0, 1, 0], ["a", "a", "b", "b", "c", "c"])
    half = 4.3027 * math.sqrt(3 / 2 * 2) / 6  # sums 2, 0, 1 of 2 values each; Student's t with 2 degrees of freedom
    assert (mean, low, high) == pytest.approx((0.5, 0.5 - half, 0.5 + half), abs=1e-4)
    assert all(math.isnan(end) for end in clustered([1, 0], ["a", "a"])[1:])


def test_values_of_groups_that_do_not_differ_are_not_certain() -> None:
    assert clustered([0.5, -0.5, 0.5, -0.5], ["a", "a", "b", "b"])[1] < -1  # the items' error, one degree of freedom
    mean, low, high = clustered([0.0] * 40, [str(n // 4) for n in range(40)])
    assert mean == 0 and low == -high and 0.03 < high < 0.1


def test_values_that_are_no_shares_have_the_error_of_their_groups() -> None:
    values, groups = [2.0, 2.0, 6.0, 6.0, 9.0, 9.0], ["a", "a", "b", "b", "c", "c"]
    found = scored(values, "row_f1", groups)
    _, alone = mean_and_error([2.0, 6.0, 9.0])
    assert found["row_f1_stderr"] == pytest.approx(alone)
    assert (found["row_f1"], found["row_f1_low"], found["row_f1_high"]) == clustered(values, groups)
    assert found["row_f1_high"] - found["row_f1_low"] > 2 * (scored(values, "row_f1")["row_f1_high"] - found["row_f1"])
    assert detectable_difference(values, groups) > 1.4 * detectable_difference(values)


def test_the_interval_of_shares_stays_from_0_to_1_and_covers() -> None:
    """Student's leaves 0 to 1 in half of these samples, and covers 93 % of their means where this one covers 95 %."""
    assert interval([1, 1, 1, 0.5])[1] < 1 and scored([1, 1, 1, 0.5], "f1", list("abcd"))["f1_high"] < 1
    assert scored([100, 100, 100, 50], "chrF", top=100)["chrF_high"] < 100
    generator = np.random.default_rng(1)
    low, high = np.transpose([interval(sample) for sample in generator.uniform(0, 1, (4000, 4))])
    assert low.min() >= 0 and high.max() <= 1
    assert np.mean((low <= 0.5) & (high >= 0.5)) == pytest.approx(0.95, abs=0.012)
    low, high = interval([0.2, 0.4, 0.5, 0.9] * 250)
    assert high - low == pytest.approx(2 * 1.96 * mean_and_error([0.2, 0.4, 0.5, 0.9] * 250)[1], rel=0.01)


def test_an_interval_over_groups_has_the_error_of_the_groups() -> None:
    groups = [str(n // 8) for n in range(160)]
    alike = scored([float(n // 8 < 5) for n in range(160)], "acc", groups)  # all right or all wrong in a group
    assert alike["acc"] == 0.25 and alike["acc_stderr"] == pytest.approx(math.sqrt(0.25 * 0.75 / 19))
    assert independent([float(n // 8 < 5) for n in range(160)], groups) == pytest.approx(19)
    low, high = wilson(0.25 * 19, 19)
    assert 0 < alike["acc_low"] < low and high < alike["acc_high"] < 0.52  # a little wider: Student's t of 19
    bare = scored([float(n // 8 < 5) for n in range(160)], "acc")
    assert alike["acc_high"] - alike["acc_low"] > 2.5 * (bare["acc_high"] - bare["acc_low"])
    even = [float(n % 4 == 0) for n in range(160)]  # a quarter in every group: the groups' error is 0
    assert independent(even, groups) == 160 and scored(even, "acc", groups)["acc_low"] < 0.19
    none = scored([0.0] * 160, "acc", groups)
    assert none["acc_low"] == 0 and 0.02 < none["acc_high"] < 0.04
    one = scored([1.0, 0.0], "acc", ["a", "a"])
    assert math.isnan(one["acc_low"]) and math.isnan(one["acc_high"])  # nothing is known of other groups
    assert detectable_difference(even, groups) == detectable_difference(even)
    assert detectable_difference([float(n // 8 < 5) for n in range(160)], groups) > 2 * detectable_difference(even)


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


def test_groups_are_drawn_whole_and_few_of_them_cost_certainty() -> None:
    """Answers about 12 countries, by two equally good models whose difference varies between countries."""
    generator = np.random.default_rng(4)
    groups = [str(number) for number in range(12) for _ in range(40)]
    held = {"items": 0, "groups": 0}
    for _ in range(300):
        shares = np.clip(0.5 + generator.normal(0, 0.15, (2, 12)), 0.05, 0.95).repeat(40, axis=1)
        a, b = (generator.random(480) < shares).astype(float)
        for name, found in (
            ("items", paired_bootstrap(a, b, resamples=400)),
            ("groups", paired_bootstrap(a, b, groups=groups, resamples=400)),
        ):
            held[name] += found.low <= 0 <= found.high
    assert held["items"] / 300 < 0.75, "the interval of independent items misses the true difference often"
    assert held["groups"] / 300 == pytest.approx(0.95, abs=0.03)


def test_groups_by_hand() -> None:
    """Three groups of unequal size: the error is the linearised one of a ratio, times Student's over the normal's."""
    values, groups = [1, 1, 1, 0, 0, 1], ["a", "a", "a", "b", "b", "c"]
    found = paired_bootstrap(values, [0] * 6, groups=groups)
    assert (found.difference, found.items, found.groups) == (pytest.approx(4 / 6), 6, 3)
    assert paired_bootstrap(values, [0] * 6).groups is None
    alone = paired_bootstrap(values, [0] * 6, groups=list("abcdef"))
    plain = paired_bootstrap(values, [0] * 6)
    factor = np.sqrt(6 / 5) * 2.5706 / 1.96  # Student's t of 5 degrees of freedom
    assert alone.low - 4 / 6 == pytest.approx((plain.low - 4 / 6) * factor, abs=1e-4)
    with pytest.raises(ValueError, match="one group"):
        paired_bootstrap([1, 0], [0, 0], groups=["a", "a"])


def test_groups_that_do_not_differ_are_not_certain() -> None:
    half = [1, 0] * 20  # one right answer more in each of 20 countries
    found = paired_bootstrap(half, [0] * 40, groups=[str(number // 2) for number in range(40)])
    error = mean_and_error(half)[1] * 2.093  # Student's t of 19 degrees of freedom
    assert (found.low, found.high) == (pytest.approx(0.5 - error, abs=2e-3), pytest.approx(0.5 + error, abs=2e-3))
    assert found.share > 0.99
    same = paired_bootstrap([1] * 40, [1] * 40, groups=[str(number // 2) for number in range(40)])
    assert same.low < 0 < same.high and same.share == 0.5


def test_detectable_is_found_in_four_of_five_samples() -> None:
    generator = np.random.default_rng(2)
    true = detectable(1.0)
    assert np.mean(np.abs(generator.normal(true, 1, 20_000)) > 1.96) == pytest.approx(0.8, abs=0.01)


def test_wilsons_interval_by_hand_and_by_coverage() -> None:
    # 5 of 20: (0.25 + z²/40) / (1 + z²/20) ± ..., from Wilson (1927) with z = 1.96
    assert interval([1] * 5 + [0] * 15) == pytest.approx((0.1119, 0.4687), abs=1e-4)
    assert interval([0] * 100) == pytest.approx((0, 0.0370), abs=1e-4)
    generator = np.random.default_rng(4)
    samples = (generator.random((2000, 40)) < 0.05).astype(float)
    covered = [low <= 0.05 <= high for low, high in map(interval, samples)]
    assert 0.92 < np.mean(covered) < 0.99


def test_students_interval_of_few_documents() -> None:
    low, high = interval([1.0, 2.0, 3.0, 4.0])
    assert (low + high) / 2 == 2.5
    assert (high - low) / 2 == pytest.approx(3.1824 * math.sqrt(5 / 3 / 4), rel=1e-4)  # t of 3 degrees of freedom


def test_no_right_answer_does_not_show_every_difference() -> None:
    assert 0.02 < detectable_difference([0.0] * 200) < 0.05
    found = paired_bootstrap([0.0] * 200, [0.0] * 200)
    assert found.difference == 0 and found.low == -found.high and 0.005 < found.high < 0.02
    assert found.detectable > found.high


@given(st.integers(1, 10_000), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilsons_bounds_hold_the_share_and_are_exact_at_the_ends(trials: int, part: float, confidence: float) -> None:
    hits = round(part * trials)
    low, high = wilson(hits, trials, confidence)
    assert 0 <= low <= hits / trials <= high <= 1 and low < high
    assert (low == 0) == (hits == 0) and (high == 1) == (hits == trials)
    assert wilson(trials - hits, trials, confidence) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_equal_values_are_not_certain() -> None:
    low, high = interval([0.5] * 20)
    assert low < 0.3 and high > 0.7
    assert interval([1.0]) == pytest.approx((0.2065, 1), abs=1e-4)
    assert all(math.isnan(end) for end in interval([3.5]))
    assert scored([0] * 20, "acc")["acc_low"] == 0.0


@pytest.mark.parametrize("values", [[0.1] * 10, [0.7] * 7, [1.0] * 100 + [1 - 1e-16], [0.0] * 50 + [1e-17]])
def test_values_that_are_equal_but_for_rounding_are_equal(values: list[float]) -> None:
    mean, count = values[0], len(values)
    groups = ["a", "b"] * (count // 2) + ["a"] * (count % 2)
    for found in (scored(values, "x"), scored(values, "x", groups)):
        assert found["x_stderr"] == 0.0
        assert found["x_low"] - 1e-9 <= mean <= found["x_high"] + 1e-9
        assert 0.01 < found["x_high"] - found["x_low"] < 0.99
    assert interval(values) == pytest.approx(wilson(mean * count, count), abs=1e-9)


def test_scores_up_to_a_hundred_that_are_all_zero_are_as_uncertain_as_shares() -> None:
    """Four sentences with a chrF of 0: 0 to 49 of 100, as none of four right answers is 0 to 49 %."""
    for groups in (None, ["a", "a", "b", "b"]):
        share, found = scored([0.0] * 4, "chrF", groups), scored([0.0] * 4, "chrF", groups, top=100.0)
        assert found["chrF_high"] == pytest.approx(100 * share["chrF_high"]) and share["chrF_high"] > 0.4
        assert detectable_difference([0.0] * 4, groups, 100.0) == pytest.approx(
            100 * detectable_difference([0.0] * 4, groups)
        )
    part = {key: 100 * share for key, share in scored([0.5, 0.3, 0.1], "chrF").items()}
    assert scored([50.0, 30.0, 10.0], "chrF", top=100.0) == pytest.approx(part)
