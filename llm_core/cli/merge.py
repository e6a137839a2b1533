"""`llm-core merge`: one model from several."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Out, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say

app = verb_app()


class How(StrEnum):
    """How tensors are merged."""

    LINEAR = "linear"
    TIES = "ties"


@app.command()
def merge(
    models: Annotated[list[Path], typer.Argument(help="Folders of models of one architecture and one tokenizer.")],
    out: Out,
    last: Annotated[
        int | None,
        typer.Option("--last", help="Average the last N models of one run (pretraining.snapshot_every).", min=2),
    ] = None,
    weight: Annotated[
        list[float] | None,
        typer.Option("--weight", help="Weight of each model, in their order; equal where none is given. Repeatable."),
    ] = None,
    ema: Annotated[
        float | None, typer.Option("--ema", help="Decay: each model weighs this times the next; the last weighs most.")
    ] = None,
    method: Annotated[
        How,
        typer.Option("--merge-method", help="linear: the weighted mean. ties: --base plus the agreeing differences."),
    ] = How.LINEAR,
    base: Annotated[Path | None, typer.Option("--base", help="The model that the others descend from (ties).")] = None,
    density: Annotated[
        float, typer.Option("--density", help="Share of each difference's weights that is kept, the largest (ties).")
    ] = 0.2,
) -> None:
    """Average the checkpoints of a run, or merge models that descend from one parent.

    The mean of a run's last checkpoints often beats the last one where the learning rate has not come down yet. The
    mean of models that were finetuned from one parent joins what they learned. Models without a common parent cannot
    be merged usefully, and nothing here can tell that from their weights: compare held-out figures afterwards. Only
    models of the same architecture and tokenizer are accepted; metrics.json names them by digest, and `documents`,
    `trace` and `takedown` follow all of them.

    Examples: `llm-core merge data/models/base --last 5 --out averaged`;
    `llm-core merge one two --weight 0.7 --weight 0.3 --out both`.
    """
    from llm_core.models import merging

    if last:
        if len(models) > 1:
            raise UserError("--last averages the models of one run; give its folder alone")
        models = merging.last_of_run(models[0], last)
    if ema is not None and weight:
        raise UserError("--ema and --weight both set the weights; give one of them")
    weights = merging.decaying(len(models), ema) if ema is not None else weight or [1.0] * len(models)
    record = merging.merge(models, weights, out, method.value, base, density)
    for one in record["merged"]["models"]:
        say(f"{one['weight']:.4f} {one['path']} ({one['digest'][:12]})")
