"""`llm-core mix`: weights per source."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Out, Overrides, ParamsFile, read_params, verb_app

app = verb_app()


@app.command()
def mix(
    split: Annotated[Path, typer.Option("--in", help="Folder that `llm-core split` wrote.")],
    out: Out,
    tokenizer: Annotated[
        Path | None, typer.Option(help="Count sizes in tokens of this tokenizer (a folder), not in bytes.")
    ] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Mix the training documents by source: weights or temperature, epochs capped, seeded, exact to the document.

    The output is a split again (train/, heldout/); metrics.json holds the table of what the mix is.
    """
    from llm_core.corpus.mix.stage import mix as run

    params = read_params(params_file, overrides)
    run(split, out, params.mix, params.seed, tokenizer, params.shards.bytes)
