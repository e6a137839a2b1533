"""`llm-core evidence-data`: instruction rows with what retrieval finds in the prompt."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Out, Overrides, ParamsFile, read_params, verb_app
from llm_core.runtime.terminal import say_json

app = verb_app()


@app.command()
def evidence_data(
    source: Annotated[Path, typer.Option("--in", help="What `finetune-data instruction` wrote.")],
    folder: Annotated[Path, typer.Option("--index", help="Index that is searched.")],
    out: Out,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Write train, held-out and test rows that show evidence as `ask` does, for `finetune instruction`."""
    from llm_core.retrieval.rows import RowBuilder
    from llm_core.runtime.storage import output_folder, write_json
    from llm_core.training.finetuning.rows import read_rows, write_rows

    params = read_params(params_file, overrides)
    build = RowBuilder(folder, params.retrieval, params.seed)
    made = {
        side: build([row for row in rows if row.get("kind") == "closed"])
        for side, rows in read_rows(source, "instruction").items()
    }
    metrics = {
        f"{side}_{kind}": sum(row["kind"] == kind for row in rows)
        for side, rows in made.items()
        for kind in ("closed", "retrieved", "exchanged", "refused")
    }
    with output_folder(out) as partial:
        write_rows(partial, made)
        write_json(partial / "metrics.json", metrics)
    say_json(metrics)
