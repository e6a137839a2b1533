"""`llm-core ask`: an answer from the corpus."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import MEANINGS, Index, Overrides, ParamsFile, option, read_params, verb_app
from llm_core.runtime.terminal import printable, say, say_json

app = verb_app()


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help=MEANINGS["question"])],
    model: Annotated[Path, option("--model", "The model answers.")] = Path("data/models/instruction"),
    folder: Index = Path("data/index"),
    as_json: Annotated[bool, option("--json", "It has the answer, the citations and the scores.")] = False,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Answer a question from the indexed documents and cite them; refuse where nothing relevant is found."""
    from llm_core.retrieval.ask import Asker
    from llm_core.retrieval.index import Index as OpenIndex
    from llm_core.retrieval.passages import cited
    from llm_core.retrieval.reader import Reader
    from llm_core.retrieval.search import Search

    params = read_params(params_file, overrides).retrieval
    reader = Reader(model, params.prompt_tokens, params.answer_tokens)
    answer = Asker(Search(OpenIndex(folder), params), reader, params)(question)
    if as_json:
        say_json(asdict(answer), indent=2)
        return
    say(answer.text)
    if not answer.refused and not answer.supported:
        say("(no line that the model was shown holds these words)")
    for number, row in enumerate(answer.citations, start=1):
        where = ", ".join(filter(None, (row["document_id"], row["url"], f"characters {row['start']}-{row['stop']}")))
        say(printable(f"[{number}] {cited(row)} ({where})", lines=False))
