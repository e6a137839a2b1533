"""The corpus as sentences, streamed from the shards as often as they are needed.

Word2Vec passes over the corpus once to count and once an epoch; each pass reads the shards
again, a record batch at a time, so that memory holds the vocabulary and never the corpus.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from llm_core.formats.documents import read_documents
from llm_core.formats.token_shards import TokenShards
from llm_core.kernels.sentences import SPACED, UNSPACED
from llm_core.kernels.words import mark_ranges
from llm_core.runtime.progress import Task

END = re.compile(rf"[.!?;:{SPACED}]+\s|[{UNSPACED}]|\n\s*\n")
ASCII_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
LONGEST = 1000  # words; gensim cuts at 10,000 without a message, and a list without sentence ends may be longer


def words(text: str) -> list[list[str]]:
    """Sentences of lower-case words; numbers and signs are not words.

    >>> words("We don't know. The 3 kings came!")
    [['we', "don't", 'know'], ['the', 'kings', 'came']]
    """
    found = []
    for sentence in END.split(text):
        row = [word.replace("’", "'") for word in _words(sentence.lower())]
        found += [row[start : start + LONGEST] for start in range(0, len(row), LONGEST)]
    return found


def _words(sentence: str) -> list[str]:
    return (ASCII_WORD if sentence.isascii() else _word()).findall(sentence)


@cache
def _word() -> re.Pattern[str]:
    """Letters with their marks, and apostrophes between them."""
    letter = rf"(?:[^\W\d_]|[{mark_ranges()}])"
    return re.compile(rf"{letter}+(?:['’]{letter}+)*")


class Sentences:
    """Sentences of documents; every `iter` reads the files again, in the same order."""

    def __init__(self, inputs: list[str], work: Task | None = None) -> None:
        self.inputs, self.work = inputs, work

    def __iter__(self) -> Iterator[list[str]]:
        for batch in read_documents(self.inputs, ["text"]):
            for text in batch["text"].to_pylist():
                yield from words(text)
            if self.work:
                self.work.update(batch.num_rows)


class TokenSentences:
    """Encoded documents as sentences of token ids (as decimal strings), in runs of LONGEST."""

    def __init__(self, folder: Path, work: Task | None = None) -> None:
        self.shards, self.work = TokenShards(folder), work

    def __iter__(self) -> Iterator[list[str]]:
        for document in range(len(self.shards)):
            ids = self.shards.ids(document).tolist()
            for start in range(0, len(ids), LONGEST):
                yield [str(token) for token in ids[start : start + LONGEST]]
            if self.work:
                self.work.update()
