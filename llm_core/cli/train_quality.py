"""`llm-core train-quality`: the classifier of the cleaning step `model`."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Out, Overrides, ParamsFile, expand_sources, read_params, verb_app

app = verb_app()


@app.command("train-quality")
def train_quality(
    good: Annotated[list[str], typer.Option("--good", help="Documents as they should be. Repeatable.")],
    random: Annotated[list[str], typer.Option("--random", help="Documents as they come. Repeatable.")],
    out: Out,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Train a linear classifier over words and pairs of words; writes model, config and held-out metrics.json."""
    from llm_core.corpus.cleaning.quality_training import train_quality as run

    params = read_params(params_file, overrides)
    sides = (expand_sources(good, params), expand_sources(random, params))
    run(*sides, out, params.cleaning.quality_model, params.seed)
