"""`llm-core tag`: the entities of a text."""

import sys
from pathlib import Path
from typing import Annotated

from llm_core.cli.options import option, verb_app
from llm_core.errors import UserError
from llm_core.runtime.terminal import printable, say, say_json

app = verb_app()


@app.command()
def tag(
    model: Annotated[Path, option("--model", "`finetune` wrote it by the method token_classification.")],
    text: Annotated[list[str] | None, option("--text", "Repeatable; without it, each line of stdin is a text.")] = None,
    source: Annotated[
        Path | None, option("--in", "a file with a text a line, or the field `text` of each line of a .jsonl file.")
    ] = None,
    as_json: Annotated[bool, option("--json", "One object for each text.")] = False,
    out_file: Annotated[Path | None, option("--out-file", "JSON lines: each text with its entities.")] = None,
) -> None:
    """Print the entities of texts: number of the text, label, first character and one past the last, confidence."""
    from llm_core.evaluation.text_metrics import read_lines
    from llm_core.runtime import json_lines
    from llm_core.training.finetuning.use import Tagger

    if text and source:
        raise UserError("tag: give --text or --in, not both")
    texts = text or (read_lines(source) if source else [line.rstrip("\n") for line in sys.stdin if line.strip()])
    if not texts:
        raise UserError("tag: no text (give --text, --in or lines on stdin)")
    answers = Tagger(model)(texts)
    if out_file:
        json_lines.write_rows(out_file, answers)
        say(f"{out_file}: {sum(len(answer['entities']) for answer in answers)} entities in {len(answers)} texts")
        return
    for number, answer in enumerate(answers, 1):
        if as_json:
            say_json(answer)
            continue
        for found in answer["entities"]:
            place = f"{number}\t{found['label']}\t{found['start']}\t{found['end']}\t{found['confidence']:.3f}"
            say(f"{place}\t{printable(found['text'], lines=False)}")
        if not answer["entities"]:
            say(f"{number}\tnone")
