"""`llm-core promote`: champion, for a version that passes the gate."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, read_params, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say

app = verb_app()


@app.command()
def promote(
    version: Annotated[str, typer.Argument(help="Version to put to the gate again; none lists the versions.")] = "",
    model: Annotated[str, typer.Option("--model", help="Which of the graph's models.")] = "base",
    record: Annotated[Path | None, typer.Option("--record", help="What `llm-core register` wrote, to follow.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="JSON file that says what was done of --record.")] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Make VERSION champion if it passes the gate against the present champion; exit code 1 where it does not.

    With --record the gate has spoken already: a version that passed becomes champion, one that failed does not, and
    the exit code is 0 either way.
    """
    from llm_core.evaluation.gate import gate_of, judge
    from llm_core.tracking import registry

    params = read_params(params_file, overrides)
    if record is not None:
        if out is None:
            raise UserError("promote --record: --out is missing, the file that says what was done")
        registry.promote_record(record, out)
        return
    name = registry.registered_name(params.evaluation.registry, model)
    if not version:
        rows = registry.listing(name)
        if not rows:
            known = ", ".join(registry.names()) or "none yet; `llm-core register` makes the first"
            raise UserError(f"{name}: no such registered model (there is: {known})")
        for row in rows:
            say(f"{row['version']:>4}  {row['model']:<28} {row['aliases']:<22} {row['gate']}")
        return
    decide = partial(judge, gate=gate_of(model, params), seed=params.seed)
    passed, reason = registry.promote(version, decide, name)
    if not passed:
        raise UserError(f"{name} version {version} stays challenger: {reason}")
    say(f"{name} version {version} is champion: {reason}")
