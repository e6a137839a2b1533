"""`llm-core answer`: the answer to a question in a text."""

from pathlib import Path
from typing import Annotated

import typer

from llm_core.cli.options import MEANINGS, option, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import printable, say, say_json

app = verb_app()


@app.command()
def answer(
    question: Annotated[str, typer.Argument(help=MEANINGS["question"])],
    model: Annotated[Path, option("--model", "`finetune` wrote it by the method question_answering.")],
    context: Annotated[
        list[str], typer.Option("--context", help="A text, or a file with one; repeat to ask the question of several.")
    ],
    as_json: Annotated[bool, option("--json", "One object for each context, with the answer's place.")] = False,
) -> None:
    """Print the words of each context that answer the question, or that it has no answer."""
    from llm_core.training.finetuning.use import Reader

    if not question.strip():
        raise UserError("answer: the question is empty")
    texts = [_text(one) for one in context]
    for found in Reader(model)([question] * len(texts), texts):
        if as_json:
            say_json(found)
        else:
            say(printable(found["answer"], lines=False) or "no answer")


def _text(context: str) -> str:
    """The content of the file that `context` names, or `context` itself."""
    try:
        found = Path(context).read_bytes().decode("utf-8-sig") if Path(context).is_file() else context
    except UnicodeDecodeError as error:
        raise UserError(f"{context}: not UTF-8 (byte {error.start + 1})") from None
    except OSError:  # a text that is too long for a file's name
        found = context
    if not found.strip():
        raise UserError(f"--context {context[:40]!r}: an empty text")
    return found
