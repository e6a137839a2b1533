"""`llm-core finetune-data`: the rows of a finetune."""

from pathlib import Path
from typing import Annotated

from llm_core.cli.finetune import RunName
from llm_core.cli.options import Out, Overrides, ParamsFile, option, read_params, verb_app

app = verb_app()


@app.command()
def finetune_data(
    name: RunName,
    out: Out,
    source: Annotated[
        str | None,
        option(
            "--in",
            "instead of data.path, a `split` folder (the Factbook's fields become rows), a file or a folder "
            "(JSONL, JSON, CSV, TSV, Parquet), or a preset of `finetuning.datasets`, such as imdb or samsum.",
        ),
    ] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Read, check and split the rows of one finetune into train, held-out and test."""
    params = read_params(params_file, overrides)
    from llm_core.training.finetuning.data.stage import prepare

    prepare(name, out, params, source)
