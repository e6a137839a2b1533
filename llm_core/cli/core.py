"""`llm-core core`: the CORE measure of a base model."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import option, verb_app
from llm_core.runtime.terminal import say

app = verb_app()


@app.command()
def core(
    model: Annotated[Path, option("--model", "It must be a decoder.")],
    benchmarks: Annotated[Path, option("--benchmarks", "Eleven of CORE's tasks are made from it.")] = Path(
        "data/benchmarks"
    ),
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Evaluation bundle of DCLM or nanochat, with all tasks.")
    ] = None,
    most: Annotated[
        int | None, typer.Option("--items", help="Maximum number of items of each task; all by default.", min=1)
    ] = None,
    out_file: Annotated[Path | None, option("--out-file", "JSON with the figures of each task.")] = None,
) -> None:
    """CORE: accuracy above a guess, over tasks with solved examples, as nanochat computes it.

    0 is guessing, 1 all right. With --bundle it is the figure that is published for other models; without one it is the
    mean over eleven of its 22 tasks, on the items that `fetch-benchmarks` wrote, and comparable only with itself.

    Example: `llm-core core --model data/models/base --items 200`.
    """
    from llm_core.evaluation.core import bundle_tasks, evaluate_core, packaged_tasks
    from llm_core.models.loading import load
    from llm_core.runtime.storage import write_json

    tasks = bundle_tasks(bundle) if bundle else packaged_tasks(benchmarks)
    loaded = load(model, kinds=("decoder",))
    found = evaluate_core(loaded.network, loaded.tokenizer, tasks, most, loaded.context)
    for name, score in found["tasks"].items():
        say(f"{name:<36} {score['accuracy']:.4f} centred {score['centred']:+.4f}, {score['items']} items")
    say(f"CORE {found['core']:.4f} over {len(found['tasks'])} tasks")
    if out_file:
        write_json(out_file, found)
