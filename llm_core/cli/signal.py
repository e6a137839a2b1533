"""`llm-core signal`: which scores tell recipes apart."""

from typing import Annotated

import typer

from llm_core.cli.options import verb_app
from llm_core.runtime.terminal import say

app = verb_app()


@app.command()
def signal(
    recipes: Annotated[
        list[str],
        typer.Argument(help="Each recipe: folders of evaluations of its seeds or last checkpoints, by commas."),
    ],
) -> None:
    """Which scores have signal above noise at this size: their range between recipes over their spread within one.

    The last column is the probability of such a range if the recipes did not differ; above 0.05 the score says nothing
    about them at this size.

    Example: `llm-core signal eval/a1,eval/a2,eval/a3 eval/b1,eval/b2,eval/b3`.
    """
    from llm_core.evaluation.results import evaluations
    from llm_core.evaluation.signal import check_runs, scores_of, signals

    runs = [evaluations(recipe) for recipe in recipes]
    found = signals([[scores_of(run) for run in recipe] for recipe in runs])
    check_runs(runs)
    say(f"{'score':<40} {'signal':>10} {'noise':>10} {'ratio':>8} {'by chance':>10}")
    for one in found:
        say(f"{one.score:<40} {one.signal:>10.4g} {one.noise:>10.4g} {one.ratio:>8.2f} {one.chance:>10.3f}")
