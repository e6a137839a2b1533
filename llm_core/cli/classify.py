"""`llm-core classify`: label and confidence of a text."""

import sys
from pathlib import Path
from typing import Annotated

from llm_core.cli.options import option, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import printable, say, say_json

app = verb_app()


@app.command()
def classify(
    model: Annotated[Path, option("--model", "`finetune classification` wrote it.")],
    text: Annotated[list[str] | None, option("--text", "Repeatable; without it, each line of stdin is a text.")] = None,
    as_json: Annotated[
        bool, option("--json", "One object for each text, with the probability of every label.")
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
