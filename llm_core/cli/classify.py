"""`llm-core classify`: what a model with a head says of texts."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from llm_core.cli.options import option, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import printable, say, say_json

app = verb_app()


@app.command()
def classify(
    model: Annotated[
        Path,
        option("--model", "A model of classification, multi_label, regression, sentence_pairs or multiple_choice."),
    ],
    text: Annotated[list[str] | None, option("--text", "Repeatable; without it, each line of stdin is a text.")] = None,
    second: Annotated[
        list[str] | None,
        typer.Option("--second", help="Second text of a pair, for each --text; on stdin behind a tab."),
    ] = None,
    choice: Annotated[
        list[str] | None,
        typer.Option("--choice", help="An answer to choose from, for the question in --text; on stdin behind tabs."),
    ] = None,
    as_json: Annotated[
        bool, option("--json", "One object for each text, with the probability of every label.")
    ] = False,
) -> None:
    """Print each text's label and calibrated confidence, its labels, its score, or the right choice."""
    from llm_core.training.finetuning.use import Classifier

    classifier = Classifier(model)
    texts, seconds, choices = text or [], second, [choice] * len(text or []) if choice else None
    if not texts:
        if second or choice:
            raise UserError("classify: --second and --choice belong to a --text")
        texts, seconds, choices = _lines(classifier.columns)
    for answer in classifier(texts, seconds, choices):
        if as_json:
            say_json(answer)
        elif "score" in answer:
            say(f"{answer['score']:.4g}")
        elif "labels" in answer:
            say(", ".join(printable(label, lines=False) for label in answer["labels"]) or "(no label)")
        else:
            say(f"{printable(answer['label'], lines=False)}\t{answer['confidence']:.3f}")


def _lines(columns: int | None) -> tuple[list[str], list[str] | None, list[list[str]] | None]:
    """The texts of stdin, with their second texts or their choices where a line has `columns` for them."""
    lines: list[Any] = [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not lines:
        raise UserError("classify: no text (give --text or lines on stdin)")
    if columns == 1:
        return lines, None, None
    cells = [line.split("\t") for line in lines]
    minimum = columns or 3
    for number, row in enumerate(cells, 1):
        if len(row) < minimum or (columns and len(row) > columns):
            what = "a question and two choices or more" if columns is None else "two texts"
            raise UserError(
                f"classify: line {number} of stdin has {len(row)} columns; {what} are needed, with tabs between"
            )
    if columns is None:
        return [row[0] for row in cells], None, [row[1:] for row in cells]
    return [row[0] for row in cells], [row[1] for row in cells], None
