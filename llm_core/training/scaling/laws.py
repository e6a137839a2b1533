"""Two forms of the scaling law, fitted robustly.

Chinchilla (Hoffmann et al. 2022, arXiv:2203.15556, approach 3):
    L(N, D) = E + A / N^alpha + B / D^beta
Kaplan et al. (2020, arXiv:2001.08361, equation 1.5), which has no floor:
    L(N, D) = ((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D

N is parameters, D training tokens, L any loss that falls with them (here bits per byte on
held-out text). Both are fitted as Hoffmann does: a Huber loss (delta 1e-3) between logarithms,
by L-BFGS from a grid of starts. Intervals are percentiles over fits to resampled runs
(bootstrap; Besiroglu et al. 2024, arXiv:2404.10102, discuss their width).
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Form = Literal["chinchilla", "kaplan"]
Floats = npt.NDArray[np.float64]
HUBER_DELTA = 1e-3
NAMES: dict[str, tuple[str, ...]] = {
    "chinchilla": ("E", "A", "B", "alpha", "beta"),
    "kaplan": ("N_c", "D_c", "alpha_N", "alpha_D"),
}
# Starts, in the space that is searched: logarithms of scales, exponents themselves (E as log E).
STARTS: dict[str, list[tuple[float, ...]]] = {
    "chinchilla": list(itertools.product((-1.0, 0.0), (0.0, 5.0, 10.0), (0.0, 5.0, 10.0), (0.3, 0.8), (0.3, 0.8))),
    "kaplan": list(itertools.product((10.0, 20.0, 30.0), (10.0, 20.0, 30.0), (0.08, 0.3), (0.1, 0.4))),
}


@dataclass(frozen=True)
class Law:
    """A fitted law. `values` are named by NAMES[form]; `samples` float [bootstrap, values] are refits to resamples."""

    form: Form
    values: Floats
    residual: float
    """Root mean square of log(predicted / measured) over the runs fitted."""
    samples: Floats

    def predict(self, parameters: npt.ArrayLike, tokens: npt.ArrayLike) -> Floats:
        """Loss at `parameters` and `tokens` (broadcast together)."""
        return _predict(self.form, self.values, parameters, tokens)

    def interval(self, parameters: float, tokens: float, confidence: float) -> tuple[float, float]:
        """Range that contains the share `confidence` of the bootstrap's predictions."""
        predicted = [float(_predict(self.form, sample, parameters, tokens)) for sample in self.samples]
        return bounds(np.array(predicted), confidence)

    def named(self) -> dict[str, float]:
        """The fitted values by name."""
        return dict(zip(NAMES[self.form], self.values.tolist(), strict=True))


def fit(form: Form, parameters: Floats, tokens: Floats, losses: Floats, bootstrap: int, seed: int) -> Law:
    """Fit a form to runs: float [runs] each. Raises ValueError for fewer runs than the form has values.

    Resamples that do not determine the values (fewer distinct runs than values) are drawn again.
    """
    count = len(NAMES[form])
    if len(losses) < count:
        raise ValueError(f"{len(losses)} runs cannot determine the {count} values of the {form} form")
    n, d, target = _log(parameters), _log(tokens), _log(losses)
    best = min((_minimise(form, np.array(start), n, d, target) for start in STARTS[form]), key=lambda found: found[1])
    draw = np.random.default_rng(seed)
    samples: list[Floats] = []
    while len(samples) < bootstrap:
        chosen = draw.integers(0, len(losses), len(losses))
        if len(np.unique(chosen)) >= count:
            found = _minimise(form, best[0], n[chosen], d[chosen], target[chosen])
            samples.append(_outer(form, found[0]))
    error = _log_loss(form)(best[0], n, d)[0] - target
    return Law(form, _outer(form, best[0]), float(np.sqrt(np.mean(error**2))), np.array(samples))


def compute_optimal(law: Law, compute: float, values: Floats | None = None) -> tuple[float, float]:
    """Parameters and tokens of minimum loss with `compute` = 6 N D FLOP, by the Chinchilla form (its equation 4)."""
    _, a, b, alpha, beta = law.values if values is None else values
    g = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    return g * (compute / 6) ** (beta / (alpha + beta)), (compute / 6) ** (alpha / (alpha + beta)) / g


def bounds(values: Floats, confidence: float) -> tuple[float, float]:
    """The central interval of `values` that contains the share `confidence`."""
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def power_law(compute: Floats, losses: Floats) -> tuple[float, float]:
    """Kaplan's L = (C_c / C)^alpha_C through points of the compute-efficient frontier: (C_c, alpha_C)."""
    slope, intercept = np.polyfit(_log(compute), _log(losses), 1)
    return float(np.exp(-intercept / slope)), float(-slope)


def frontier(compute: Floats, losses: Floats) -> npt.NDArray[np.int64]:
    """Numbers of the runs that have a lower loss than all runs of equal or less compute, by rising compute."""
    order = np.lexsort((losses, compute))
    best = np.minimum.accumulate(losses[order])
    return order[(losses[order] <= best) & np.append(True, best[1:] < best[:-1])]


def _predict(form: Form, values: Floats, parameters: npt.ArrayLike, tokens: npt.ArrayLike) -> Floats:
    return np.exp(_log_loss(form)(_inner(form, values), _log(parameters), _log(tokens))[0])


def _log(values: npt.ArrayLike) -> Floats:
    return np.log(np.asarray(values, np.float64))


def _log_loss(form: Form) -> Callable[[Floats, Floats, Floats], tuple[Floats, Floats]]:
    """Log loss of searched values x at log sizes n and log tokens d, and its gradient [values, runs]."""
    return _chinchilla if form == "chinchilla" else _kaplan


def _chinchilla(x: Floats, n: Floats, d: Floats) -> tuple[Floats, Floats]:
    size, data = x[1] - x[3] * n, x[2] - x[4] * d
    total = np.logaddexp(np.logaddexp(size, data), x[0])
    by_size, by_data = np.exp(size - total), np.exp(data - total)
    return total, np.array([np.exp(x[0] - total), by_size, by_data, -n * by_size, -d * by_data])


def _kaplan(x: Floats, n: Floats, d: Floats) -> tuple[Floats, Floats]:
    size, data = x[2] / x[3] * (x[0] - n), x[1] - d
    total = np.logaddexp(size, data)
    by_size, by_data = np.exp(size - total), np.exp(data - total)
    return x[3] * total, np.array([x[2] * by_size, x[3] * by_data, (x[0] - n) * by_size, total - size * by_size])


def _outer(form: Form, x: Floats) -> Floats:
    """The law's values of the searched ones: exp of the logarithms."""
    scales = 3 if form == "chinchilla" else 2
    return np.concatenate([np.exp(x[:scales]), x[scales:]])


def _inner(form: Form, values: Floats) -> Floats:
    scales = 3 if form == "chinchilla" else 2
    return np.concatenate([np.log(values[:scales]), values[scales:]])


def _minimise(form: Form, start: Floats, n: Floats, d: Floats, target: Floats) -> tuple[Floats, float]:
    from scipy.optimize import minimize
    from scipy.special import huber
    from threadpoolctl import threadpool_limits

    model = _log_loss(form)
    scales = 3 if form == "chinchilla" else 2
    limits = [(-30.0, 80.0)] * scales + [(0.01, 3.0)] * (len(start) - scales)

    def objective(x: Floats) -> tuple[float, Floats]:
        # Hoffmann's sum, divided by delta so that L-BFGS's tolerances see numbers of order one
        predicted, gradient = model(x, n, d)
        error = predicted - target
        slope = np.clip(error / HUBER_DELTA, -1, 1)
        return float(np.sum(huber(HUBER_DELTA, error)) / HUBER_DELTA), gradient @ slope

    options = {"maxiter": 1000, "ftol": 1e-12}
    with threadpool_limits(1, "blas"):  # with five values a second thread only waits: 13 times the CPU time
        found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=limits, options=options)
    return found.x, float(found.fun)
