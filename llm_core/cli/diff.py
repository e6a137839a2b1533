"""`llm-core diff`: two versions of the data or of a model."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, option, read_params, verb_app
from llm_core.runtime.terminal import say, say_json

app = verb_app()


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(help="A folder of documents or of a model, the older version.")],
    after: Annotated[Path, typer.Argument(help="The newer version of the same kind.")],
    out_file: Annotated[Path | None, option("--out-file", "Markdown (.md) or a page (.html).")] = None,
    as_json: Annotated[bool, option("--json")] = False,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """What changed: documents by source and reason, tokens trained on, settings, scores with paired intervals.

    To compare with another revision, check it out beside this one:
    git worktree add ../before REV && (cd ../before && dvc checkout), then
    llm-core diff ../before/data/models/base data/models/base
    """
    from llm_core.formats.pages import write_page
    from llm_core.lineage.diff import diff as compare

    params = read_params(params_file, overrides)
    found = compare(before, after, params.evaluation.gate, params.seed)
    if as_json:
        say_json(asdict(found), indent=2)
    else:
        say(found.markdown())
    if out_file:
        write_page(out_file, found.page())
