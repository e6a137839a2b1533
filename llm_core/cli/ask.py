"""`llm-core ask`: an answer from the corpus."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llm_core.cli.options import MEANINGS, Index, Overrides, ParamsFile, option, read_params, verb_app
from llm_core.runtime.terminal import printable, say, say_json

if TYPE_CHECKING:
    from llm_core.retrieval.ask import Answer

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
    """Answer a question from the indexed documents and cite them; refuse where nothing relevant is found.

    Where the project has a tracking store, the question is kept as an MLflow trace, with the templates of its prompt.
    """
    from llm_core.retrieval.ask import Asker
    from llm_core.retrieval.index import Index as OpenIndex
    from llm_core.retrieval.traced import TracedReader, TracedSearch
    from llm_core.tracking import traces
    from llm_core.tracking.store import has_store

    params = read_params(params_file, overrides).retrieval
    steps: list[traces.Step] = []
    reader = TracedReader(model, params.prompt_tokens, params.answer_tokens, steps.append)
    search = TracedSearch(OpenIndex(folder), params, steps.append)
    root = traces.Step("CHAIN", "ask", {"question": question, "model": str(model), "index": str(folder)})
    root.templates = reader.templates
    answer = Asker(search, reader, params)(question)
    shown = {"answer": answer.text, "refused": answer.refused, "supported": answer.supported}
    root.end({**shown, "citations": [row["id"] for row in answer.citations], "similarity": answer.similarity})
    _show(answer, as_json)
    if has_store():
        sys.stdout.flush()  # whoever reads the answer need not wait for the trace
        traces.keep(lambda: (root, steps))


def _show(answer: "Answer", as_json: bool) -> None:
    from llm_core.retrieval.passages import cited

    if as_json:
        say_json(asdict(answer), indent=2)
        return
    say(answer.text)
    if not answer.refused and not answer.citations:
        say("(the model was shown no line of the passages, because none fits behind the question into its prompt)")
    elif not answer.refused and not answer.supported:
        say("(no line that the model was shown holds these words)")
    for number, row in enumerate(answer.citations, start=1):
        where = ", ".join(filter(None, (row["document_id"], row["url"], f"characters {row['start']}-{row['stop']}")))
        say(printable(f"[{number}] {cited(row)} ({where})", lines=False))
