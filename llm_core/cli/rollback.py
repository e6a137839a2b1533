"""`llm-core rollback`: the champion before this one is champion again."""

from pathlib import Path

import typer

from llm_core.cli.options import Overrides, ParamsFile, read_params, verb_app

app = verb_app()


@app.command()
def rollback(params_file: ParamsFile = Path("params.yaml"), overrides: Overrides = None) -> None:
    """Point the alias `champion` back to the version that had it before."""
    from llm_core import registry

    read_params(params_file, overrides)
    old, new = registry.rollback()
    typer.echo(f"champion: version {new} again (was {old})")
