"""`llm-core tokenize`: documents to memory-mapped token shards."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import In, Out, Overrides, ParamsFile, expand_sources, option, read_params, verb_app

app = verb_app()


@app.command()
def tokenize(
    inputs: In,
    tokenizer: Annotated[Path, option("--tokenizer")],
    out: Out,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Number of threads; 0: launch.tokenization.")] = 0,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Encode documents into Arrow token shards; of a folder that `llm-core split` wrote, both sides."""
    from llm_core.tokenization.stage import tokenize as run

    params = read_params(params_file, overrides)
    launch = params.launch.tokenization
    if workers:
        launch = launch.model_copy(update={"workers": workers})
    run(expand_sources(inputs, params), tokenizer, out, launch, params.shards.tokens)
