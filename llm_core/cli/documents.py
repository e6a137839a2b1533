"""`llm-core documents`: what a model was trained on."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import option, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say, say_lines

app = verb_app()
SHOWN = 10  # unusual steps


@app.command()
def documents(
    model: Annotated[Path, option("--model", "It must be pretrained or finetuned by this pipeline.")],
    steps: Annotated[str, typer.Option("--steps", help="Only the steps A:B of pretraining (B not included).")] = "",
    out_file: Annotated[Path | None, option("--out-file", "Parquet, with a row for every use of a document.")] = None,
    data: Annotated[Path, option("--data", "Licences and addresses are read from it.")] = Path("data"),
) -> None:
    """The exact documents that a model, and those it descends from, were trained on.

    Pretraining is computed from the state of the data loader, for any world size and any number of resumes.
    Finetuning rows name the documents that they were made from. --out-file writes a row for every model, step (or
    finetuning row) and document, with source, licence and address; without it, counts are printed, and the steps of
    pretraining whose loss or gradient norm is unusual.
    """
    from llm_core.lineage.listing import write_documents
    from llm_core.lineage.training import ancestry, chain, finetuning_documents, require_steps, summary
    from llm_core.training.pretraining.run_log import spike_rows

    wanted = _range(steps) if steps else None
    trained = ancestry(model)
    if wanted:
        require_steps(trained, *wanted)
    for record in trained:
        say_lines(summary(record, *wanted or ()))
        if not wanted:
            for row in spike_rows(record.model / "training_log.jsonl", record.model)[:SHOWN]:
                say(f"  step {row['step']} is unusual: {row['unusual']}; {row['documents that raise the loss most']}")
                say(f"    {row['all documents']}")
    for folder in chain(model):
        if not folder.is_dir():
            say(f"{folder}: is not here, so what it was trained on is not listed")
            continue
        try:
            rows, made_from = finetuning_documents(folder)
        except UserError as error:
            say(error)
            continue
        if rows:
            say(f"{folder}: finetuned on {rows}, rows made from {len(made_from)} documents")
    if out_file:
        say(f"{out_file}: {write_documents(model, out_file, data, wanted)} rows")


def _range(steps: str) -> tuple[int, int | None]:
    first, colon, last = steps.partition(":")
    try:
        if not colon:
            return int(first), int(first) + 1
        return int(first or 0), int(last) if last else None
    except ValueError:
        raise UserError(f"--steps {steps}: write A:B, for example 0:100, or one step") from None
