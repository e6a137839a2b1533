"""`llm-core promote`: champion, for a version that passes the gate."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, option, read_params, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say

app = verb_app()


@app.command()
def promote(
    version: Annotated[
        str, typer.Argument(help="Version to judge by the gate again; without one, versions are listed.")
    ] = "",
    model: Annotated[str, option("--name")] = "base",
    record: Annotated[
        Path | None, typer.Option("--record", help="File that `llm-core register` wrote; its decision is followed.")
    ] = None,
    out_file: Annotated[
        Path | None, option("--out-file", "JSON that says what was done; it goes with --record.")
    ] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Make VERSION champion if it passes the gate against the present champion; exit code 1 where it does not.

    With --record the decision of `llm-core register` holds: a version that passed becomes champion, one that
    failed does not, and the exit code is 0 either way.
    """
    from llm_core.evaluation.gate import gate_of, judge
    from llm_core.tracking import registry

    if record is not None:  # the decision was made by `register`, so no param is read here
        if out_file is None:
            raise UserError("promote --record: --out-file is missing, the file that says what was done")
        registry.promote_record(record, out_file)
        return
    params = read_params(params_file, overrides)
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
