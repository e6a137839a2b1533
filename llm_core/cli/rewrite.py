"""`llm-core rewrite`: the translation or the summary of a text."""

import sys
from pathlib import Path
from typing import Annotated

from llm_core.cli.options import option, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import printable, say, say_json

app = verb_app()


@app.command()
def rewrite(
    model: Annotated[Path, option("--model", "`finetune translation` or `finetune summarization` wrote it.")],
    text: Annotated[list[str] | None, option("--text", "Repeatable; without it, each line of stdin is a text.")] = None,
    max_new_tokens: Annotated[int, option("--max-new-tokens", "It limits one text.", min=1)] = 128,
    as_json: Annotated[bool, option("--json", "One object for each text, with its `source` and `target`.")] = False,
) -> None:
    """Print what the model makes of each text: its translation, or its summary."""
    from llm_core.training.finetuning.use import rewrite as run

    texts = text or [line.rstrip("\n") for line in sys.stdin if line.strip()]
    if not texts:
        raise UserError("rewrite: no text (give --text or lines on stdin)")
    for source, target in zip(texts, run(model, texts, max_new_tokens), strict=True):
        if as_json:
            say_json({"source": source, "target": target})
        else:
            say(printable(target, lines=False))
