"""`llm-core scaling`: a ladder of small models, and what it says about larger ones."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, option, read_params, verb_app

app = verb_app()


@app.command()
def scaling(
    what: Annotated[
        str, typer.Argument(help="all; the name of one rung, to train it; or fit, to fit the laws.")
    ] = "all",
    tokens: Annotated[Path, option("--tokens")] = Path("data/tokens"),
    tokenizer: Annotated[Path, option("--tokenizer")] = Path("data/tokenizer"),
    out: Annotated[Path, option("--out", "It gets runs/ and laws/.")] = Path("data/scaling"),
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Train the rungs of params.scaling, fit scaling laws to them, and recommend a size for a compute budget."""
    from llm_core.errors import UserError
    from llm_core.training.scaling import ladder, report

    params = read_params(params_file, overrides)
    if what not in ("all", "fit"):
        ladder.train_rung(params, what, tokens, tokenizer, out)
        return
    if not params.scaling.rungs:
        raise UserError(f"{params_file} names no scaling.rungs, the trainings that laws are fitted to")
    for name in params.scaling.rungs if what == "all" else ():
        ladder.train_rung(params, name, tokens, tokenizer, out)
    report.report(params, out)
