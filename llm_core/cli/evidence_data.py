"""`llm-core evidence-data`: instruction rows with what retrieval finds in the prompt."""

from pathlib import Path
from typing import Annotated

from llm_core.cli.options import Index, Out, Overrides, ParamsFile, option, read_params, verb_app
from llm_core.runtime.terminal import say_json

app = verb_app()


@app.command()
def evidence_data(
    rows: Annotated[Path, option("--rows", "Rows of the method `instruction`.")],
    folder: Index,
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
        side: build([row for row in side_rows if row.get("kind") == "closed"])
        for side, side_rows in read_rows(rows, "instruction").items()
    }
    metrics = {
        f"{side}_{kind}": sum(row["kind"] == kind for row in side_rows)
        for side, side_rows in made.items()
        for kind in ("closed", "retrieved", "exchanged", "refused")
    }
    with output_folder(out) as partial:
        write_rows(partial, made)
        write_json(partial / "metrics.json", metrics)
    say_json(metrics)
