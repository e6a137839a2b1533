"""`llm-core fetch-model`: an open model into a folder."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import MEANINGS, Out, Overrides, ParamsFile, read_params, verb_app
from llm_core.errors import UserError

app = verb_app()


@app.command()
def fetch_model(
    name: Annotated[str, typer.Argument(help=f"{MEANINGS['name']} an entry of `open_models`.")],
    out: Out,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Copy an open model's folder, or download a commit of the hub: config, safetensors, tokenizer, card, licence."""
    from llm_core.models.open_models import fetch_model as run

    params = read_params(params_file, overrides)
    if name not in params.open_models:
        raise UserError(f"no open model '{name}' in {params_file} (it has {', '.join(params.open_models) or 'none'})")
    run(name, params.open_models[name], out)
