"""`llm-core summary`: what a run came to, and where to look."""

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

from llm_core.cli.options import Data, Overrides, ParamsFile, read_params, verb_app
from llm_core.errors import UserError
from llm_core.params import Params
from llm_core.params.finetuning import methods
from llm_core.runtime.terminal import say, say_table

app = verb_app()


@app.command()
def summary(
    data: Data = Path("data"), params_file: ParamsFile = Path("params.yaml"), overrides: Overrides = None
) -> None:
    """What the last run means, in a few sentences, and the commands to look further."""
    from llm_core.report.stage import in_short

    params = read_params(params_file, overrides)
    found = in_short(data, params)
    if not found:
        raise UserError(f"{data}: no stage has run yet; `make run` or `dvc repro` runs them all")
    say()
    say_table(found)
    say()
    for name, command in where(params, data):  # not wrapped, to be copied
        say(f"  {name:<4}  {command}")


def where(params: Params, data: Path) -> Iterator[tuple[str, str]]:
    """What to do next with what is there: a word and a command."""
    yield "read", f"open {data}/report/report.html"
    yield "see", "make ui                     Dagster and MLflow on loopback"
    models = data / "models"
    if params.evaluation.models and (models / "base").is_dir():
        prompt = next(iter((*params.evaluation.prompts, *params.pretraining.sample_prompts)), "The")
        yield "try", f"llm-core generate --model {models}/base --prompt {shlex.quote(prompt)}"
    for name, run in params.finetuning.runs.items():
        if (models / name).is_dir():
            yield "use", f"llm-core {methods()[run.method].use.format(model=models / name)}"
    yield "ask", "llm-core trace --text 'SOME WORDS OF A DOCUMENT'"
    yield "vary", "dvc exp run -S pretraining.optimizer.learning_rate=0.001"
    if _not_committed(Path("dvc.lock")):
        yield "keep", "git add dvc.lock && git commit -m 'A run'      git then leads to this run's data and models"


def _not_committed(file: Path) -> bool:
    """Whether git would have something to commit of a file; not outside git, nor for a file that it ignores."""
    try:
        asked = subprocess.run(["git", "status", "--porcelain", "--", str(file)], capture_output=True, check=False)
    except OSError:
        return False
    return bool(asked.stdout.strip())
