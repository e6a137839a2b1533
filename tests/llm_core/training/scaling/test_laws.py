"""Fits: known laws are recovered, and the recommendation is the minimum of the fitted law."""

import numpy as np
import pytest

from llm_core.training.scaling.laws import Form, Law, bounds, compute_optimal, fit, frontier, power_law

HOFFMANN = np.array([1.69, 406.4, 410.7, 0.34, 0.28])  # the published fit, arXiv:2203.15556 section D.3
SIZES = np.array([1e6, 4e6, 16e6, 64e6])
N, D = (grid.ravel() for grid in np.meshgrid(SIZES, np.array([2e7, 1e8, 5e8, 2.5e9])))


def hoffmann() -> Law:
    return Law("chinchilla", HOFFMANN, 0.0, HOFFMANN[None])


def test_predict_by_hand() -> None:
    # 1e6 ** 0.34 = 109.65, 1e8 ** 0.28 = 173.78
    assert hoffmann().predict(1e6, 1e8) == pytest.approx(1.69 + 406.4 / 109.65 + 410.7 / 173.78, rel=1e-4)


def test_chinchilla_is_found_again() -> None:
    draw = np.random.default_rng(1)
    losses = hoffmann().predict(N, D) * np.exp(draw.normal(0, 2e-3, len(N)))
    law = fit("chinchilla", N, D, losses, bootstrap=40, seed=1)
    assert law.values[3:] == pytest.approx(HOFFMANN[3:], rel=0.1) and law.values[0] == pytest.approx(1.69, rel=0.1)
    assert law.residual < 4e-3
    assert law.predict(2.56e8, 1e10) == pytest.approx(hoffmann().predict(2.56e8, 1e10), rel=0.01)
    low, high = law.interval(2.56e8, 1e10, 0.9)
    assert low < hoffmann().predict(2.56e8, 1e10) < high and high - low < 0.1


def test_kaplan_is_found_again() -> None:
    true = np.array([8.8e13, 5.4e13, 0.076, 0.095])  # arXiv:2001.08361, section 1.2
    losses = Law("kaplan", true, 0.0, true[None]).predict(N, D)
    assert losses[0] == pytest.approx(((8.8e13 / 1e6) ** (0.076 / 0.095) + 5.4e13 / 2e7) ** 0.095)
    law = fit("kaplan", N, D, losses, bootstrap=10, seed=1)
    assert law.values[2:] == pytest.approx(true[2:], rel=0.03) and law.residual < 1e-3


def test_one_bad_run_does_not_bend_the_fit() -> None:
    losses = hoffmann().predict(N, D)
    losses[5] *= 1.3
    law = fit("chinchilla", N, D, losses, bootstrap=10, seed=1)
    assert law.values[3:] == pytest.approx(HOFFMANN[3:], rel=0.1)


def test_recommendation_is_the_minimum() -> None:
    compute = 1e19
    parameters, tokens = compute_optimal(hoffmann(), compute)
    assert 6 * parameters * tokens == pytest.approx(compute)
    best = hoffmann().predict(parameters, tokens)
    for factor in (0.7, 0.95, 1.05, 1.4):
        assert hoffmann().predict(parameters * factor, tokens / factor) > best


def test_frontier_and_power_law_by_hand() -> None:
    compute, losses = np.array([1.0, 10, 10, 100, 1000]), np.array([4.0, 2.5, 2.0, 3.0, 0.5])
    assert frontier(compute, losses).tolist() == [0, 2, 4]
    c, alpha = power_law(np.array([1.0, 100.0]), np.array([4.0, 2.0]))  # halves in two decades
    assert alpha == pytest.approx(np.log10(2) / 2) and (c / 100) ** alpha == pytest.approx(2)


@pytest.mark.parametrize(("form", "x"), [("chinchilla", [0.5, 6, 6, 0.34, 0.28]), ("kaplan", [32, 31, 0.076, 0.095])])
def test_gradients_against_differences(form: Form, x: list[float]) -> None:
    from llm_core.training.scaling import laws

    at, n, d = np.array(x), np.log(N), np.log(D)
    gradient = laws._log_loss(form)(at, n, d)[1]
    for place in range(len(at)):
        step = np.zeros(len(at))
        step[place] = 1e-6
        difference = (laws._log_loss(form)(at + step, n, d)[0] - laws._log_loss(form)(at - step, n, d)[0]) / 2e-6
        assert gradient[place] == pytest.approx(difference, rel=1e-5, abs=1e-8)


def test_too_few_runs() -> None:
    with pytest.raises(ValueError, match="4 runs cannot determine the 5 values"):
        fit("chinchilla", N[:4], D[:4], D[:4], 10, 1)


def test_bounds_by_hand() -> None:
    assert bounds(np.arange(101.0), 0.9) == pytest.approx((5, 95))
