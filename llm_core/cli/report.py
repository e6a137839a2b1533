"""`llm-core report`: one page about the run."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, read_params, verb_app
from llm_core.errors import UserError
from llm_core.runtime.progress import log

app = verb_app()


@app.command()
def report(
    out: Annotated[Path, typer.Option("--out", help="Folder for report.html and report.md.")] = Path("data/report"),
    data: Annotated[Path, typer.Option("--data", help="Folder of the stages' outputs.")] = Path("data"),
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Write one self-contained HTML page, and the same as Markdown, about everything that has been made."""
    from llm_core.report.stage import facts, write_report

    if not facts(data):
        raise UserError(f"{data}: holds no output of a stage; run the stages, or name their folder by --data")
    write_report(data, out, read_params(params_file, overrides))
    log(f"report: {out / 'report.html'}")
