"""`llm-core plan`: which stages are stale, why, and what they would cost.

The library knows neither DVC nor Dagster, so the plan is made by `pipelines.plan` in a process of its own.
"""

import subprocess
import sys
from typing import Annotated

import typer

from llm_core.cli.options import verb_app

app = verb_app()


@app.command()
def plan(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    price: Annotated[float, typer.Option(help="Money per CPU hour, in whatever currency.", min=0)] = 0.0,
) -> None:
    """Print what `dvc repro` would run, the param, file or code that made each stage stale, and the expected cost."""
    command = [sys.executable, "-m", "pipelines.plan", "--price", str(price), *(["--json"] if as_json else [])]
    raise typer.Exit(subprocess.run(command, check=False).returncode)
