"""`llm-core ablate`: does a change of recipe make better models?"""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Data, Overrides, ParamsFile, Takedowns, option, read_params, verb_app
from llm_core.runtime.terminal import say

app = verb_app()


@app.command()
def ablate(
    change: Annotated[
        list[str], typer.Option("--change", help="KEY=VALUE of cleaning, deduplication or decontamination. Repeatable.")
    ],
    out: Annotated[Path, option("--out", "It gets runs/ and the page; finished runs are kept.")] = Path(
        "data/ablation"
    ),
    tokenizer: Annotated[Path, option("--tokenizer", "All arms use it.")] = Path("data/tokenizer"),
    data: Data = Path("data"),
    tombstones: Takedowns = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Train control, treatment and negative control on a change of recipe, and test whether the difference is real.

    The mixture of sources and the number of tokens are the same in all arms, and so are tokenizer, held-out texts
    and seeds. Sizes are in params.ablation.
    """
    from llm_core.corpus.takedowns import chosen_file
    from llm_core.formats.pages import to_markdown
    from llm_core.training.ablation.arms import Project
    from llm_core.training.ablation.stage import ablate as run

    params = read_params(params_file, overrides)
    changed = read_params(params_file, [*(overrides or []), *change])
    say(to_markdown(run(params, changed, change, Project(data, chosen_file(tombstones)), tokenizer, out)))
