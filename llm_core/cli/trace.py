"""`llm-core trace`: the journey of a document."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Overrides, ParamsFile, read_params, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say, say_json, say_lines

app = verb_app()


@app.command()
def trace(
    identifier: Annotated[str, typer.Option("--id", help="The document's id, or its first eight digits or more.")] = "",
    url: Annotated[str, typer.Option("--url", help="The address it was fetched from.")] = "",
    text: Annotated[str, typer.Option("--text", help="Its text, a phrase of it, or words like it.")] = "",
    recipe: Annotated[
        list[str] | None, typer.Option("--recipe", help="Would it pass this recipe of quality rules? Repeatable.")
    ] = None,
    limit: Annotated[int, typer.Option(help="At most so many documents, the best first.", min=1)] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a document.")] = False,
    data: Annotated[Path, typer.Option("--data", help="The folder of the stages' outputs.")] = Path("data"),
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Where a document came from, what each stage decided and why, and which models were trained on it.

    Give one of --id, --url and --text. The first question after a run builds an index of the
    ledgers in .scratch; further ones are answered at once.
    """
    from llm_core.lineage import search
    from llm_core.lineage.index import open_index
    from llm_core.lineage.journey import journey

    params = read_params(params_file, overrides)
    if sum(map(bool, (identifier, url, text))) != 1:
        raise UserError("give one of --id, --url and --text")
    index = open_index(data)
    if identifier:
        hits, asked = search.by_id(index, identifier), identifier
    elif url:
        hits, asked = search.by_url(index, url), url
    else:
        hits, asked = search.by_text(index, text, limit), text
    if not hits:
        raise UserError(f"{asked[:80]}: no document found below {data}")
    for hit in hits[:limit]:
        found = journey(index, hit.id, data, params, recipe or ())
        if as_json:
            say_json(found.as_dict(), indent=2)
        else:
            say_lines(found.lines())
    if len(hits) > limit:
        say(f"… and {len(hits) - limit} more (--limit)", error=True)
