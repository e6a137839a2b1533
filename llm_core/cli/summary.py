"""`llm-core summary`: what a run came to, and where to look."""

from pathlib import Path

from llm_core.cli.options import Data, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say

app = verb_app()

WHERE = (
    ("read", "open data/report/report.html"),
    ("see", "make ui                     Dagster and MLflow on loopback"),
    ("try", "llm-core generate --model data/models/base --prompt 'The people of'"),
    ("ask", "llm-core trace --text 'union of these states'"),
    ("vary", "dvc exp run -S pretraining.optimizer.learning_rate=0.001"),
)


@app.command()
def summary(
    data: Data = Path("data"),
) -> None:
    """The figures of the last run in a few lines, and the commands to look further."""
    from llm_core.formats.pages import show
    from llm_core.report.stage import facts

    found = facts(data)
    if not found:
        raise UserError(f"{data}: no stage has run yet; `make run` or `dvc repro` runs them all")
    width = max(len(name) for name, _ in found)
    say("")
    for name, value in found:
        say(f"  {name:<{width}}  {show(value)}")
    say("")
    for name, command in WHERE:
        say(f"  {name:<{width}}  {command}")
