"""`llm-core fetch`: one corpus as documents."""

import os
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Out, Overrides, ParamsFile, read_params, verb_app
from llm_core.errors import UserError

app = verb_app()


@app.command()
def fetch(
    source: Annotated[str, typer.Argument(help="A name under `sources:` in the params file.")],
    out: Out,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Download one source (verified, resumed, cached) and write its documents, ledger and metrics.json."""
    os.environ.setdefault("USE_TORCH", "0")  # `datasets` would import torch in every worker: seconds, for nothing
    from llm_core.corpus.sources.stage import fetch as run

    params = read_params(params_file, overrides)
    if source not in params.sources:
        raise UserError(f"no source '{source}' in {params_file} (it has {', '.join(params.sources) or 'none'})")
    run(source, params.sources[source], params.network, out)
