"""Report of the ladder: fitted laws, a tested prediction, a recommendation, and plots."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from llm_core.errors import UserError
from llm_core.params import Params
from llm_core.runtime import progress
from llm_core.runtime.storage import output_folder, write_json
from llm_core.training.scaling.ladder import Run, read_runs
from llm_core.training.scaling.laws import NAMES, Form, Law, bounds, compute_optimal, fit, frontier, power_law

FORMS: tuple[Form, ...] = ("chinchilla", "kaplan")


def report(params: Params, out: Path) -> dict[str, Any]:
    """Fit the laws to the rungs in `out/runs`; write `out/laws` with metrics.json, runs.csv and scaling.png.

    Raises UserError: a rung that is not trained, fewer rungs than a law has values.
    """
    settings = params.scaling
    runs = read_runs(out, list(settings.rungs))
    if len(runs) < len(NAMES["chinchilla"]) + 1:
        raise UserError(f"{len(runs)} rungs are too few: 5 values are fitted and one rung is predicted; make it 6")
    checked = next((run for run in runs if run.name == settings.check), runs[-1])
    if settings.check not in (None, checked.name):
        raise UserError(f"scaling.check '{settings.check}' is no rung (there are {', '.join(settings.rungs)})")
    laws = {form: _fit(form, runs, params) for form in FORMS}
    without = {form: _fit(form, [run for run in runs if run != checked], params) for form in FORMS}
    compute, losses = np.array([run.compute for run in runs]), np.array([run.loss for run in runs])
    efficient = frontier(compute, losses)
    metrics: dict[str, Any] = {
        "runs": len(runs),
        "laws": {form: _describe(law, settings.confidence) for form, law in laws.items()},
        "check": {"rung": checked.name, "measured": checked.loss}
        | {form: _prediction(law, checked, settings.confidence) for form, law in without.items()},
        "recommendation": _recommend(laws["chinchilla"], settings.compute_budget, settings.confidence),
    }
    if len(efficient) > 1:
        scale, exponent = power_law(compute[efficient], losses[efficient])
        metrics["frontier"] = {"C_c": scale, "alpha_C": exponent, "rungs": [runs[i].name for i in efficient]}
    metrics = _rounded(metrics)
    with output_folder(out / "laws") as folder:
        write_json(folder / "metrics.json", metrics)
        with open(folder / "runs.csv", "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(Run._fields)
            writer.writerows(runs)
        _plot(runs, laws, metrics, settings.compute_budget, folder / "scaling.png")
    _say(metrics)
    progress.report({"scaling": metrics})
    return metrics


def _size(form: str, run: Run) -> int:
    return run.parameters if form == "chinchilla" else run.blocks


def _fit(form: Form, runs: list[Run], params: Params) -> Law:
    sizes = np.array([_size(form, run) for run in runs], np.float64)
    tokens, losses = np.array([run.tokens for run in runs], np.float64), np.array([run.loss for run in runs])
    return fit(form, sizes, tokens, losses, params.scaling.bootstrap, params.seed)


def _describe(law: Law, confidence: float) -> dict[str, Any]:
    intervals = {
        f"{name}_interval": bounds(law.samples[:, place], confidence) for place, name in enumerate(NAMES[law.form])
    }
    return {**law.named(), **intervals, "log_residual": law.residual}


def _prediction(law: Law, run: Run, confidence: float) -> dict[str, Any]:
    size = _size(law.form, run)
    predicted = float(law.predict(size, run.tokens))
    return {
        "predicted": predicted,
        "interval": law.interval(size, run.tokens, confidence),
        "error": predicted / run.loss - 1,
    }


def _recommend(law: Law, compute: float, confidence: float) -> dict[str, Any]:
    parameters, tokens = compute_optimal(law, compute)
    samples = np.array([compute_optimal(law, compute, sample) for sample in law.samples])
    return {
        "compute": compute,
        "parameters": parameters,
        "parameters_interval": bounds(samples[:, 0], confidence),
        "tokens": tokens,
        "tokens_interval": bounds(samples[:, 1], confidence),
        "tokens_per_parameter": tokens / parameters,
        "loss": float(law.predict(parameters, tokens)),
        "loss_interval": law.interval(parameters, tokens, confidence),
    }


def _rounded(value: Any) -> Any:
    """Six significant digits, so that a file does not change with the last bits of an optimizer."""
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _say(metrics: dict[str, Any]) -> None:
    check, best = metrics["check"], metrics["recommendation"]
    for form in FORMS:
        low, high = check[form]["interval"]
        progress.log(
            f"scaling: rung {check['rung']} has {check['measured']:.4f} bits per byte; {form}, fitted to the others, "
            f"predicted {check[form]['predicted']:.4f} ({low:.4f} to {high:.4f})"
        )
    progress.log(
        f"scaling: for {best['compute']:.3g} FLOP take {best['parameters']:.3g} parameters and {best['tokens']:.3g} "
        f"tokens; expect {best['loss']:.4f} bits per byte"
    )


def _plot(runs: list[Run], laws: dict[Form, Law], metrics: dict[str, Any], budget: float, file: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    law = laws["chinchilla"]
    sizes = sorted({run.parameters for run in runs})
    compute = np.array([run.compute for run in runs])
    for place, size in enumerate(sizes):
        colour = plt.get_cmap("viridis")(place / max(len(sizes) - 1, 1))
        same = [run for run in runs if run.parameters == size]
        tokens = np.geomspace(min(r.tokens for r in same) / 1.5, max(r.tokens for r in same) * 3, 60)
        label = f"{size / 1e6:.2f} M parameters"
        left.plot([r.tokens for r in same], [r.loss for r in same], "o", color=colour, label=label)
        left.plot(tokens, law.predict(size, tokens), "-", color=colour, linewidth=1)
        right.plot([r.compute for r in same], [r.loss for r in same], "o", color=colour)
        right.plot(6 * size * tokens, law.predict(size, tokens), "-", color=colour, linewidth=1)
    budgets = np.geomspace(compute.min(), max(compute.max(), budget), 60)
    best = np.array([compute_optimal(law, c) for c in budgets])
    right.plot(budgets, law.predict(best[:, 0], best[:, 1]), "k--", label="compute-optimal (Chinchilla form)")
    if "frontier" in metrics:
        scale, exponent = metrics["frontier"]["C_c"], metrics["frontier"]["alpha_C"]
        right.plot(budgets, (scale / budgets) ** exponent, "k:", label="power law through the frontier (Kaplan)")
    recommended = metrics["recommendation"]
    right.plot([budget], [recommended["loss"]], "r*", markersize=12, label="recommended at the budget")
    left.set(xscale="log", xlabel="training tokens", ylabel="bits per byte, held out", title="Loss against data")
    right.set(xscale="log", xlabel="compute, 6 N D (FLOP)", title="Loss against compute")
    left.legend(fontsize=8)
    right.legend(fontsize=8)
    figure.savefig(file, dpi=120, metadata={"Software": None})
    plt.close(figure)
