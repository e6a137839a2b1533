"""`llm-core plan`: which stages are stale, why, and what they would cost.

The library knows neither DVC nor Dagster, so the plan is made by `pipelines.plan` in a process of its own.
"""

import subprocess
import sys
from typing import Annotated

import typer

from llm_core.cli.options import MEANINGS, option, verb_app

app = verb_app()


@app.command()
def plan(
    targets: Annotated[list[str] | None, typer.Argument(help=MEANINGS["targets"])] = None,
    as_json: Annotated[bool, option("--json")] = False,
    price: Annotated[float, typer.Option(help="Money per CPU hour, in whatever currency.", min=0)] = 0.0,
) -> None:
    """Print what `dvc repro [TARGETS]` would run, the param, file or code that made it stale, and the expected cost."""
    options = ["--price", str(price), *(["--json"] if as_json else [])]
    command = [sys.executable, "-m", "pipelines.plan", *options, *(targets or [])]
    raise typer.Exit(subprocess.run(command, check=False).returncode)
