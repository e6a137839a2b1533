"""`llm-core evidence-data`: instruction rows with what retrieval finds in the prompt."""

import json
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Out, Overrides, ParamsFile, read_params, verb_app
from llm_core.errors import UserError

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
    from llm_core.storage import output_folder, write_json

    params = read_params(params_file, overrides)
    build = RowBuilder(folder, params.retrieval, params.seed)
    metrics: dict[str, int] = {}
    with output_folder(out) as partial:
        for side in ("train", "heldout", "test"):
            file = source / f"{side}.jsonl"
            if not file.is_file():
                raise UserError(f"{file}: no such file; `llm-core finetune-data instruction` makes it")
            asked = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
            rows = build([row for row in asked if row.get("kind") == "closed"])
            text = "".join(f"{json.dumps(row, ensure_ascii=False, sort_keys=True)}\n" for row in rows)
            (partial / f"{side}.jsonl").write_text(text, "utf-8")
            for kind in ("closed", "retrieved", "refused"):
                metrics[f"{side}_{kind}"] = sum(row["kind"] == kind for row in rows)
        documents = source / "documents.json"  # which documents stand behind each side: lineage asks for it
        if documents.is_file():
            (partial / documents.name).write_bytes(documents.read_bytes())
        write_json(partial / "metrics.json", metrics)
    typer.echo(json.dumps(metrics))
