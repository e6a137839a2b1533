"""`llm-core trace`: the journey of a document."""

from pathlib import Path
from typing import Annotated

from llm_core.cli.options import Data, Overrides, ParamsFile, option, read_params, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say, say_json, say_lines

app = verb_app()


@app.command()
def trace(
    identifier: Annotated[str, option("--id", "The first eight digits are enough.")] = "",
    url: Annotated[str, option("--url")] = "",
    text: Annotated[
        str, option("--text", "Documents with it, with a part of it, or with similar words are found.")
    ] = "",
    recipe: Annotated[list[str] | None, option("--recipe", "Its verdict on the document is shown. Repeatable.")] = None,
    limit: Annotated[int, option("--limit", "Documents, the best first.", min=1)] = 3,
    as_json: Annotated[bool, option("--json", "One object for each document.")] = False,
    data: Data = Path("data"),
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
