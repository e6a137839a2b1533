"""`llm-core chat`: talk with a model in a terminal."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import option, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import say

app = verb_app()


@app.command()
def chat(
    model: Annotated[Path, option("--model", "It must be finetuned for chat.")],
    system: Annotated[str | None, typer.Option("--system", help="System message.")] = None,
    temperature: Annotated[float, option("--temperature", min=0)] = 0.0,
    max_new_tokens: Annotated[int, option("--max-new-tokens", "It limits one answer.", min=1)] = 128,
) -> None:
    """Answer each line that is typed, streaming; an empty line or Ctrl-D ends."""
    from llm_core.training.finetuning.use import Chat

    talk = Chat(model, system, temperature, max_new_tokens)
    while True:
        try:
            line = input("> ").strip()
        except (EOFError, KeyboardInterrupt):
            say()  # what comes next begins on a line of its own
            break
        if not line:
            break
        try:
            for piece in talk.say(line):
                say(piece, end="")
        except KeyboardInterrupt:  # Ctrl-C ends the answer, not the conversation
            say(" (interrupted)", end="")
        except UserError as error:  # a message that is too long: the person can write a shorter one
            if not sys.stdin.isatty():
                raise
            say(str(error), error=True)
        say()
