"""`llm-core watch`: what runs now, how far it is, and what is still to run.

The library knows neither DVC nor Dagster, and which stages are done is DVC's answer, so the page is made by
`pipelines.watch` in a process of its own, as the plan is. What a running verb says of itself is in
`llm_core.runtime.running`.
"""

import subprocess
import sys
from typing import Annotated

import typer

from llm_core.cli.options import MEANINGS, option, verb_app

app = verb_app()
PATIENCE = 3.0  # seconds in which the page may end after Ctrl-C, which the terminal sends to both processes


@app.command()
def watch(
    targets: Annotated[list[str] | None, typer.Argument(help=MEANINGS["targets"])] = None,
    once: Annotated[bool, typer.Option(help="Print one look and end.")] = False,
    as_json: Annotated[bool, option("--json", "One object for each look.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.2)] = 2.0,
) -> None:
    """Show the stages' states, and progress, time left, loss, memory and last lines of what runs, until Ctrl-C."""
    options = ["--every", str(every), *(["--once"] if once else []), *(["--json"] if as_json else [])]
    process = subprocess.Popen([sys.executable, "-m", "pipelines.watch", *options, *(targets or [])])
    try:
        code = process.wait()
    except KeyboardInterrupt:
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:  # Ctrl-C went to this process alone
            process.terminate()
            process.wait()
            code = 0
    raise typer.Exit(code)
