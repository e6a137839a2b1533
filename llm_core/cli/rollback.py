"""`llm-core rollback`: the champion before this one is champion again."""

import typer

from llm_core.cli.options import verb_app

app = verb_app()


@app.command()
def rollback() -> None:
    """Point the alias `champion` back to the version that had it before."""
    from llm_core import registry

    old, new = registry.rollback()
    typer.echo(f"champion: version {new} again (was {old})")
