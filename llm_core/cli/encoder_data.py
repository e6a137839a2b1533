"""`llm-core encoder-data`: pairs of queries and passages, for `finetune contrastive`."""

from collections import Counter
from pathlib import Path
from typing import Annotated

from llm_core.cli.options import Out, Overrides, ParamsFile, option, read_params, verb_app
from llm_core.runtime.terminal import say_json

app = verb_app()


@app.command()
def encoder_data(
    out: Out,
    source: Annotated[Path, option("--in", "the folder that `llm-core split` wrote.")] = Path("data/split"),
    rows: Annotated[
        Path | None, option("--rows", "Rows of the method `instruction`; without them, only lines become pairs.")
    ] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Write pairs that teach an encoder to find: lines and their passages, questions and the passages that answer."""
    from llm_core.retrieval.pairs import build_pairs
    from llm_core.runtime.storage import output_folder, write_json
    from llm_core.training.finetuning.rows import read_rows, write_rows

    params = read_params(params_file, overrides)
    asked = read_rows(rows, "instruction") if rows else {}
    closed = {
        side: [row for row in side_rows if row.get("kind", "closed") == "closed"] for side, side_rows in asked.items()
    }
    made = build_pairs(source, closed, params)
    counts = Counter(f"{side}_{row['kind']}" for side, rows in made.items() for row in rows)
    metrics = {f"{side}_{kind}": counts[f"{side}_{kind}"] for side in made for kind in ("question", "line")}
    with output_folder(out) as partial:
        write_rows(partial, made)
        write_json(partial / "metrics.json", metrics)
    say_json(metrics)
