"""`llm-core rollback`: the champion before this one is champion again."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, read_params, verb_app
from llm_core.runtime.terminal import say

app = verb_app()


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(help="Which of the graph's models.")] = "base",
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Point the alias `champion` back to the version that had it before."""
    from llm_core.tracking import registry

    params = read_params(params_file, overrides)
    name = registry.registered_name(params.evaluation.registry, model)
    old, new = registry.rollback(name)
    say(f"{name}: version {new} is champion again (was {old})")
