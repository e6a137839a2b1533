"""Files of tagged words in columns: the layout of CoNLL's shared tasks.

A line is a word: the first column is the word, the last one its tag, with tabs between them or else blanks. A blank
line ends a sentence. `-DOCSTART-` lines are skipped, and so are comments: lines that begin with `#` and end with no
tag.
"""

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from llm_core.errors import UserError
from llm_core.runtime import json_lines

ENDINGS = (".conll", ".bio", ".iob", ".iob2", ".bioes")
TAG = re.compile(r"O|[BIESLUM]-\S+")


def read_sentences(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`file:line` of the first word, `tokens` and `tags`) of each sentence.

    A sentence with a line of one column alone, or with lines of different numbers of columns, is a row with the key
    `__error__`. Raises UserError where a line is not UTF-8.
    """
    sentence: list[list[str]] = []
    first = 0
    for number, raw in enumerate(chain(json_lines.read_lines(file), [b""]), 1):
        try:
            line = raw.decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{file}:{number}: not UTF-8 (byte {error.start + 1} of the line)") from None
        columns = [part.strip() for part in line.split("\t")] if "\t" in line else line.split()
        if not any(columns) or columns[0] == "-DOCSTART-":
            if sentence:
                yield f"{file}:{first}", _row(sentence)
            sentence = []
        elif not (columns[0].startswith("#") and not TAG.fullmatch(columns[-1])):
            first = first if sentence else number
            sentence.append(columns)


def _row(sentence: list[list[str]]) -> dict[str, Any]:
    widths = sorted({len(columns) for columns in sentence})
    if widths[0] < 2:
        return {"__error__": "a line of the sentence has one column alone; a word and a tag are needed"}
    if len(widths) > 1:
        return {"__error__": f"lines of the sentence have {widths[0]} and {widths[-1]} columns"}
    return {"tokens": [columns[0] for columns in sentence], "tags": [columns[-1] for columns in sentence]}
