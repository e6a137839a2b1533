"""`llm-core train-perplexity`: the n-gram model of the quality rule `perplexity`."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Out, Overrides, ParamsFile, expand_sources, option, read_params, verb_app

app = verb_app()


@app.command("train-perplexity")
def train_perplexity(
    inputs: Annotated[list[str], option("--in", "documents as they should read. Repeatable.")],
    out: Out,
    sample: Annotated[
        list[str] | None,
        typer.Option(
            "--sample", help="Documents as they come, whose percentiles divide head, middle and tail. Repeatable."
        ),
    ] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Count an n-gram model of reference text; writes model, config with the sample's percentiles, and metrics.json."""
    from llm_core.corpus.cleaning.perplexity_training import train_perplexity as run

    params = read_params(params_file, overrides)
    run(
        expand_sources(inputs, params),
        expand_sources(sample or [], params),
        out,
        params.cleaning.perplexity,
        params.seed,
    )
