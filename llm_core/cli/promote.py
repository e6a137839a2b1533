"""`llm-core promote`: a registered version before the gate again."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, read_params, verb_app
from llm_core.errors import UserError

app = verb_app()


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="Version to promote; none lists the versions.")] = "",
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Make VERSION champion if it passes the gate against the present champion; exit code 1 where it does not."""
    from llm_core import registry
    from llm_core.evaluation.gate import judge

    params = read_params(params_file, overrides)
    if not version:
        for row in registry.listing():
            typer.echo(f"{row['version']:>4}  {row['model']:<28} {row['aliases']:<22} {row['gate']}")
        return
    passed, reason = registry.promote(version, partial(judge, gate=params.evaluation.gate, seed=params.seed))
    if not passed:
        raise UserError(f"version {version} stays challenger: {reason}")
    typer.echo(f"version {version} is champion: {reason}")
