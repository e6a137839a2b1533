"""`llm-core tokenize`: documents to memory-mapped token shards."""

import os
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
    workers: Annotated[int, typer.Option("--workers", min=0, help="Number of threads; 0 is one for each core.")] = 0,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Encode documents into Arrow token shards; of a folder that `llm-core split` wrote, both sides."""
    from llm_core.tokenization.stage import tokenize as run

    params = read_params(params_file, overrides)
    run(expand_sources(inputs, params), tokenizer, out, workers or len(os.sched_getaffinity(0)), params.shards.tokens)
