"""`llm-core report`: one page about the run."""

from pathlib import Path
from typing import Annotated

from llm_core.cli.options import Data, Overrides, ParamsFile, option, read_params, verb_app
from llm_core.errors import UserError
from llm_core.runtime.progress import log

app = verb_app()


@app.command()
def report(
    out: Annotated[Path, option("--out", "It gets report.html and report.md.")] = Path("data/report"),
    data: Data = Path("data"),
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Write one self-contained HTML page, and the same as Markdown, about everything that has been made."""
    from llm_core.report.stage import in_short, write_report

    params = read_params(params_file, overrides)
    if not in_short(data, params):
        raise UserError(f"{data}: holds no output of a stage; run the stages, or name their folder by --data")
    write_report(data, out, params)
    log(f"report: {out / 'report.html'}")
