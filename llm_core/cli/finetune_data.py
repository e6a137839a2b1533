"""`llm-core finetune-data`: rows for a finetuning method."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.finetune import MethodName
from llm_core.cli.options import Out, Overrides, ParamsFile, read_params, verb_app

app = verb_app()


@app.command()
def finetune_data(
    method: MethodName,
    out: Out,
    source: Annotated[
        str,
        typer.Option(
            "--in",
            help="A `split` folder (the Factbook's fields become rows), a file or folder (JSONL, JSON, CSV, TSV, "
            "Parquet), or a preset: imdb, ag_news, sms_spam, alpaca, dolly, flan, hh_rlhf, ultrafeedback.",
        ),
    ] = "data/split",
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Read, check and split the rows of one method into train, held-out and test."""
    params = read_params(params_file, overrides)
    from llm_core.training.finetuning.data.stage import prepare
    from llm_core.training.finetuning.registry import method as find_method

    find_method(method)
    prepare(method, source, out, params)
