"""`llm-core diff`: two versions of the data or of a model."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, option, read_params, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say, say_json

app = verb_app()


@app.command()
def diff(
    before: Annotated[
        str,
        typer.Argument(help="A folder of documents or of a model, the older version: PATH, or REVISION:PATH of git."),
    ],
    after: Annotated[
        str | None, typer.Argument(help="The newer version of the same kind; without it, that PATH as it is now.")
    ] = None,
    out_file: Annotated[Path | None, option("--out-file", "Markdown (.md) or a page (.html).")] = None,
    as_json: Annotated[bool, option("--json")] = False,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """What changed: documents by source and reason, tokens trained on, settings, scores with paired intervals.

    llm-core diff HEAD~1:data/models/base compares with the last commit but one: what DVC's cache kept is read, and
    the working copy stays as it is.
    """
    from llm_core.formats.pages import write_page
    from llm_core.lineage.diff import diff as compare
    from llm_core.lineage.revisions import place_of

    params = read_params(params_file, overrides)
    if after is None:
        after = before.partition(":")[2]
        if not after:
            raise UserError(f"{before}: name a second folder, or a revision (HEAD~1:{before}) to compare it with")
    found = compare(place_of(before), place_of(after), params.evaluation.gate, params.seed)
    found.before, found.after = before, after
    if as_json:
        say_json(asdict(found), indent=2)
    else:
        say(found.markdown())
    if out_file:
        write_page(out_file, found.page())
