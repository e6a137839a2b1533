"""`llm-core evaluate-retrieval`: search and answers, measured."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

from llm_core.cli.options import Out, Overrides, ParamsFile, option, read_params, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say_json

app = verb_app()


@app.command()
def evaluate_retrieval(
    file: Annotated[
        Path, option("--questions", "SQuAD JSON, JSONL of questions, or rows of the method `instruction`.")
    ],
    out: Out,
    folder: Annotated[Path | None, option("--index", "Without it, the paragraphs of a SQuAD file are indexed.")] = None,
    model: Annotated[
        Path | None,
        option("--model", "It answers with retrieval and without; without a model only search is measured."),
    ] = None,
    limit: Annotated[int | None, option("--limit", "Questions, the first ones of the file.", min=1)] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Measure recall, MRR and nDCG of BM25, dense and hybrid search, and exact match with and without retrieval."""
    from llm_core.retrieval.index import Index, build
    from llm_core.retrieval.measure import measure_answers, measure_search
    from llm_core.retrieval.questions import read_questions, squad_documents
    from llm_core.runtime.storage import output_folder, write_json

    params = read_params(params_file, overrides)
    questions = read_questions(file)[:limit]
    with tempfile.TemporaryDirectory() as scratch:
        if folder is None:
            if file.suffix != ".json":
                raise UserError("--index: needed where the questions are not a SQuAD file")
            corpus = Path(scratch) / "paragraphs.jsonl"
            corpus.write_text("".join(f"{json.dumps(row)}\n" for row in squad_documents(file)), "utf-8")
            folder = Path(scratch) / "index"
            build([str(corpus)], folder, params.retrieval.model_copy(update={"sources": None}), Path(scratch) / "none")
        index = Index(folder)
        with output_folder(out) as partial:
            scores = {"search": measure_search(index, questions, params.retrieval, params.seed)}
            if model is not None:
                scores["answers"], rows = measure_answers(index, questions, model, params.retrieval, params.seed)
                lines = (json.dumps(row, ensure_ascii=False) for row in rows)
                (partial / "answers.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")
            write_json(partial / "metrics.json", scores)
    say_json(scores, indent=2)
