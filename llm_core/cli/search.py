"""`llm-core search`: passages of an index."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import MEANINGS, Index, Overrides, ParamsFile, option, read_params, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import printable, say, say_json

app = verb_app()


@app.command()
def search(
    question: Annotated[str, typer.Argument(help=MEANINGS["question"])],
    folder: Index = Path("data/index"),
    method: Annotated[
        str | None,
        typer.Option("--method", help="bm25, dense or hybrid; hybrid where the index has vectors, else bm25."),
    ] = None,
    limit: Annotated[int, option("--limit", "Passages, the best first.", min=1)] = 5,
    as_json: Annotated[bool, option("--json", "One object a line, with the whole passage.")] = False,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Find the passages nearest to a question, by words (bm25), by meaning (dense), or both."""
    from llm_core.retrieval.index import Index as OpenIndex
    from llm_core.retrieval.passages import cited
    from llm_core.retrieval.search import METHODS, Search

    if method is not None and method not in METHODS:
        raise UserError(f"--method {method}: choose one of {', '.join(METHODS)}")
    opened = OpenIndex(folder)
    hits = Search(opened, read_params(params_file, overrides).retrieval)(question, limit, method)  # type: ignore[arg-type]
    for rank, hit in enumerate(hits, start=1):
        row = opened.passage(hit.passage)
        if as_json:
            say_json({"rank": rank, "score": round(hit.score, 6), **row})
        else:
            where = f"{cited(row)} ({row['document_id']}{', ' + row['url'] if row['url'] else ''})"
            text = printable(row["text"], lines=False)[:300]
            say(f"{rank}. {hit.score:.4f}  {printable(where, lines=False)}\n   {text}")
    if not hits:
        say("nothing found", error=True)
