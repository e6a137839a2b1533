"""`llm-core filter`: documents by one recipe of quality rules."""

from pathlib import Path
from typing import Annotated

from llm_core.cli.options import In, Out, Overrides, ParamsFile, expand_sources, option, read_params, verb_app

app = verb_app()


@app.command("filter")
def filter_(
    inputs: In,
    out: Out,
    recipe: Annotated[str, option("--recipe", "gopher_quality, c4, fineweb, … or one of cleaning.recipes.")],
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Keep what a recipe keeps; every document keeps its id and gets a verdict with a named reason."""
    from llm_core.corpus.cleaning.stage import clean as run

    params = read_params(params_file, overrides)
    run(
        expand_sources(inputs, params),
        out,
        params.cleaning,
        steps=[recipe],
        stage="filter",
        sources=list(params.sources),
        launch=params.launch.cleaning,
    )
