"""`llm-core evaluate`: a model's scores, with errors and baselines."""

import itertools
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import Out, Overrides, ParamsFile, option, read_params, verb_app
from llm_core.errors import UserError
from llm_core.params import Params
from llm_core.runtime.progress import log

app = verb_app()
STANDARD = {
    "heldout": "data/split/heldout",
    "benchmarks": "data/benchmarks",
    "trained-on": "data/split/train",
    "touched": "data/decontaminated/touched_items.jsonl",
}


@app.command()
def evaluate(
    model: Annotated[
        Path, option("--model", "A language model, or any finetuned model with the scores of its test rows.")
    ],
    out: Out,
    inputs: Annotated[
        list[str] | None,
        option("--in", f"held-out documents or .txt files for bits per byte [{STANDARD['heldout']}]."),
    ] = None,
    benchmarks: Annotated[Path | None, option("--benchmarks", f"[{STANDARD['benchmarks']}]")] = None,
    rows: Annotated[Path | None, option("--rows", "The model answers its test rows.")] = None,
    touched: Annotated[
        Path | None, typer.Option("--touched", help=f"Items that the training text holds [{STANDARD['touched']}].")
    ] = None,
    trained_on: Annotated[
        list[str] | None,
        typer.Option(
            "--trained-on",
            help="Documents from which the n-gram baseline of evaluation.language_modelling.ngram is counted "
            f"[{STANDARD['trained-on']}].",
        ),
    ] = None,
    params_file: ParamsFile = Path("params.yaml"),
    overrides: Overrides = None,
) -> None:
    """Measure bits per byte, benchmarks and exact match of a model; what the pipeline has not made is left out."""
    from llm_core.evaluation.stage import evaluate as run
    from llm_core.models.loading import load_tokenizer

    params = read_params(params_file, overrides)
    if touched and not touched.is_file():
        raise UserError(f"--touched {touched}: no such file")
    answers = rows / "test.jsonl" if rows else None
    if answers and not answers.is_file():
        raise UserError(f"--rows {rows}: holds no test.jsonl; `llm-core finetune-data` writes it")
    if answers and not _has_questions(answers):
        answers = None  # rows of a method without conversations: their scores lie beside the model
    if trained_on and params.evaluation.language_modelling.ngram is None:
        raise UserError("--trained-on: has no effect without evaluation.language_modelling.ngram")
    if touched and not (benchmarks or _standard("benchmarks")):
        raise UserError(f"--touched {touched}: has no effect without --benchmarks")
    if answers and not load_tokenizer(model).chat_template:
        raise UserError(f"--rows {rows}: {model} has no chat template, so it answers no chat questions")
    run(
        model,
        out,
        params,
        inputs=inputs or ([STANDARD["heldout"]] if _standard("heldout") else None),
        benchmarks=benchmarks or _standard("benchmarks"),
        answers=answers,
        touched=touched or _standard("touched"),
        trained_on=trained_on or _training_text(params),
    )


def _has_questions(file: Path) -> bool:
    from llm_core.runtime import json_lines

    return all("messages" in row for _, row in itertools.islice(json_lines.read_rows(file), 1))


def _training_text(params: Params) -> list[str] | None:
    """The pipeline's training documents, where the params ask for an n-gram baseline."""
    wanted = params.evaluation.language_modelling.ngram is not None
    return [STANDARD["trained-on"]] if wanted and _standard("trained-on") else None


def _standard(kind: str) -> Path | None:
    """The pipeline's own path of a kind of data, None (and a line that says so) where it has not been made."""
    path = Path(STANDARD[kind])
    if path.exists():
        return path
    log(f"evaluate: no {path}, so no {kind}")
    return None
