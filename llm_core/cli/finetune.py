"""`llm-core finetune`: a model trained further by one method."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import MEANINGS, Out, Overrides, ParamsFile, option, read_params, repeated, verb_app
from llm_core.training.finetuning.registry import methods

app = verb_app()
RunName = Annotated[
    str,
    typer.Argument(
        help=f"{MEANINGS['name']} a run of `finetuning`; or a method, with its default knobs: "
        + " ".join(f"{name} ({method.help.rstrip('.')})." for name, method in methods().items()),
        metavar="NAME",
    ),
]


@app.command()
def finetune(
    name: RunName,
    model: Annotated[Path, option("--model", "Finetuning starts from it.")],
    rows: Annotated[Path, option("--rows")],
    out: Out,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Finetune a model, resuming after a kill; writes the merged model, the adapter, log, samples and metrics.json."""
    params = read_params(params_file, overrides)
    section = params.finetuning.run(name)
    from llm_core.training.deepspeed_ops import leave_group
    from llm_core.training.finetuning import stage

    if section.processes > 1 and "RANK" not in os.environ:
        given = ["--model", str(model), "--rows", str(rows), "--out", str(out), *repeated(params_file, overrides)]
        sys.exit(stage.launch(section.processes, ["finetune", name, *given]))
    stage.finetune(name, model, rows, out, params)
    leave_group()
