"""`llm-core rollback`: the champion before this one is champion again."""

from pathlib import Path
from typing import Annotated

from llm_core.cli.options import Overrides, ParamsFile, option, read_params, verb_app
from llm_core.runtime.terminal import say

app = verb_app()


@app.command()
def rollback(
    model: Annotated[str, option("--name")] = "base",
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Point the alias `champion` back to the version that had it before."""
    from llm_core.tracking import registry

    params = read_params(params_file, overrides)
    name = registry.registered_name(params.evaluation.registry, model)
    old, new = registry.rollback(name)
    say(f"{name}: version {new} is champion again (was {old})")
