"""`llm-core encoder-data`: pairs of queries and passages, for `finetune contrastive`."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Out, Overrides, ParamsFile, read_params, verb_app
from llm_core.runtime.terminal import say_json

app = verb_app()


@app.command()
def encoder_data(
    out: Out,
    source: Annotated[Path, typer.Option("--in", help="What `llm-core split` wrote.")] = Path("data/split"),
    questions: Annotated[
        Path | None, typer.Option("--questions", help="What `finetune-data instruction` wrote; none: lines alone.")
    ] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Write pairs that teach an encoder to find: lines and their passages, questions and the passages that answer."""
    from llm_core.retrieval.pairs import build_pairs
    from llm_core.runtime.storage import output_folder, write_json
    from llm_core.training.finetuning.rows import read_rows, write_rows

    params = read_params(params_file, overrides)
    asked = read_rows(questions, "instruction") if questions else {}
    closed = {side: [row for row in rows if row.get("kind", "closed") == "closed"] for side, rows in asked.items()}
    made = build_pairs(source, closed, params)
    counts = Counter(f"{side}_{row['kind']}" for side, rows in made.items() for row in rows)
    metrics = {f"{side}_{kind}": counts[f"{side}_{kind}"] for side in made for kind in ("question", "line")}
    with output_folder(out) as partial:
        write_rows(partial, made)
        write_json(partial / "metrics.json", metrics)
    say_json(metrics)
