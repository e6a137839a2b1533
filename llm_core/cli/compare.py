"""`llm-core compare`: evaluations on the same items."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, option, read_params, verb_app
from llm_core.runtime.terminal import say

app = verb_app()


@app.command()
def compare(
    first: Annotated[
        str, typer.Argument(help="Folder of an evaluation, such as data/evaluation/base; several seeds by commas.")
    ],
    others: Annotated[list[str], typer.Argument(help="Each evaluation to compare with it: a folder, or several.")],
    out: Annotated[Path | None, option("--out", "It gets compare.html and compare.md.")] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Print how each of OTHERS differs from FIRST on the same items, with intervals; --out writes a page, too."""
    from llm_core.evaluation.results import evaluations
    from llm_core.formats.pages import to_markdown
    from llm_core.report.comparison import compare as run
    from llm_core.report.comparison import write_comparison

    params = read_params(params_file, overrides)
    gate, seed = params.evaluation.gate, params.seed
    groups = [evaluations(side) for side in (first, *others)]
    blocks = write_comparison(groups, out, gate, seed) if out else run(groups, gate, seed)
    say(to_markdown(blocks))
