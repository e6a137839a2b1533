"""`llm-core compare`: two evaluations on the same items."""

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
    second: Annotated[str, typer.Argument(help="Folder (or folders) of the evaluation to compare with it.")],
    out: Annotated[Path | None, option("--out", "It gets compare.html and compare.md.")] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Print how SECOND differs from FIRST on the same items, with intervals; --out writes it as a page, too."""
    from llm_core.formats.pages import to_markdown
    from llm_core.report.comparison import compare as run
    from llm_core.report.comparison import write_comparison

    params = read_params(params_file, overrides)
    gate, seed = params.evaluation.gate, params.seed
    before, after = [Path(part) for part in first.split(",")], [Path(part) for part in second.split(",")]
    blocks = write_comparison(before, after, out, gate, seed) if out else run(before, after, gate, seed)
    say(to_markdown(blocks))
