"""`llm-core index`: documents become a searchable index."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import In, Out, Overrides, ParamsFile, read_params, verb_app
from llm_core.corpus import takedowns

app = verb_app()


@app.command()
def index(
    inputs: In,
    out: Out,
    tombstones: Annotated[Path, typer.Option("--takedowns", help="Documents named in this file are left out.")] = Path(
        takedowns.FILE
    ),
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Index documents for `search` and `ask`. Run again, it embeds only passages that it has not seen."""
    from llm_core.retrieval.index import build

    build(inputs, out, read_params(params_file, overrides).retrieval, tombstones)
