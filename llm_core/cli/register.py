"""`llm-core register`: an evaluated model becomes a version in the registry."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, option, read_params, verb_app

app = verb_app()


@app.command()
def register(
    model: Annotated[Path, option("--model")],
    evaluation: Annotated[Path, typer.Option("--evaluation", help="Folder that `llm-core evaluate` wrote about it.")],
    out_file: Annotated[Path, option("--out-file", "JSON that says what was decided.")],
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Register a model as challenger and judge it by its gate (its finetune's, else evaluation.gate).

    A model that fails the gate is registered all the same, and the exit code is 0: the decision is in --out-file, and
    `llm-core promote --record` follows it. The version's description links to the dataset card that `llm-core card`
    kept in MLflow about the model's tokens.
    """
    from llm_core.evaluation.gate import gate_of, judge
    from llm_core.evaluation.stage import lines
    from llm_core.evaluation.tracked import figures
    from llm_core.runtime.storage import read_json
    from llm_core.tracking.registry import register as run
    from llm_core.tracking.registry import registered_name

    params = read_params(params_file, overrides)
    name = registered_name(params.evaluation.registry, model)
    decide = partial(judge, gate=gate_of(model.name, params), seed=params.seed)
    metrics = read_json(evaluation / "metrics.json")
    run(model, evaluation, figures(metrics), decide, out_file, name, lines(metrics))
