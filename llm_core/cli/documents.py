"""`llm-core documents`: what a model was trained on."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, read_params, verb_app
from llm_core.errors import UserError

app = verb_app()


@app.command()
def documents(
    model: Annotated[Path, typer.Option("--model", help="A model folder, pretrained or finetuned here.")],
    steps: Annotated[str, typer.Option("--steps", help="Only the steps A:B (B not included).")] = ":",
    out: Annotated[Path | None, typer.Option("--out", help="Parquet file of every (step, document, tokens).")] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """The exact documents a model was trained on, with the steps and the tokens each step saw.

    Computed from the state of the data loader, for any world size and any number of resumes.
    Without --out, prints how many documents and tokens of each source there were.
    """
    from llm_core.lineage.training import FINETUNING, ancestry, chain, finetuning_documents, summary, write_documents

    read_params(params_file, overrides)
    start, stop = _range(steps)
    for record in ancestry(model):
        if out:
            count = write_documents(record, out, start, stop)
            typer.echo(f"{out}: {count} rows, what {record.model} was trained on")
        for line in summary(record, start, stop):
            typer.echo(line)
    for folder in chain(model):
        try:
            rows, made_from = finetuning_documents(folder)
        except UserError as error:
            typer.echo(str(error))
            continue
        if rows:
            typer.echo(f"{folder}: finetuned on {rows}, made from {len(made_from)} documents ({FINETUNING} there)")


def _range(steps: str) -> tuple[int, int | None]:
    first, colon, last = steps.partition(":")
    try:
        if not colon:
            return int(first), int(first) + 1
        return int(first or 0), int(last) if last else None
    except ValueError:
        raise UserError(f"--steps {steps}: write A:B, for example 0:100, or one step") from None
