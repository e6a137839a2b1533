"""`llm-core classify`: label and confidence of a text."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import printable, say, say_json

app = verb_app()


@app.command()
def classify(
    model: Annotated[Path, typer.Option("--model", help="What `finetune classification` wrote.")],
    text: Annotated[
        list[str] | None, typer.Option("--text", help="Repeatable; without it, one text a line of stdin.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a text, with every label's probability.")
    ] = False,
) -> None:
    """Print each text's label and calibrated confidence."""
    from llm_core.training.finetuning.use import classify as run

    texts = text or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not texts:
        raise UserError("classify: no text (give --text or lines on stdin)")
    for answer in run(model, texts):
        label = printable(answer["label"], lines=False)
        if as_json:
            say_json(answer)
        else:
            say(f"{label}\t{answer['confidence']:.3f}")
