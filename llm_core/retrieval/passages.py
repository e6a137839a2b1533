"""Documents cut into passages, each with its place in its document.

A passage is a run of words with an overlap; cuts fall between words (as `kernels/words.py` has them), and
the text between `start` and `stop` is the document's own, so that a citation can be checked
character by character. The title of the document, where it has one, is indexed with the passage
(the title explains what "its population" refers to).
"""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from llm_core.formats.schema import as_text, read_metadata
from llm_core.kernels.words import pieces
from llm_core.runtime.digests import short_hash

MAX_PAGE = 1 << 31
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),  # id of the passage: document id and number
        pa.field("document_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("title", pa.string()),
        pa.field("page", pa.int64()),  # of a document that is one page or slide of a file
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("start", pa.int64()),  # first character in the document
        pa.field("stop", pa.int64()),  # one past the last
        pa.field("hash", pa.string()),  # of title and text, which an embedding depends on
    ]
)


def cut(text: str, words: int, overlap: int) -> list[tuple[int, int]]:
    """Character ranges of passages of `words` words with `overlap` shared; [] for a text without words.

    A remainder shorter than the overlap joins the passage before it.
    """
    spans = pieces(text)
    step = max(words - overlap, 1)
    ranges = []
    for first in range(0, len(spans), step):
        last = min(first + words, len(spans))
        if len(spans) - last <= overlap:
            last = len(spans)
        ranges.append((spans[first][0], spans[last - 1][1]))
        if last == len(spans):
            break
    return ranges


def titled(title: str | None, text: str) -> str:
    """A passage below its title, where it has one: the text that is indexed, that encoders learn from and models
    read."""
    return f"{title}\n{text}" if title else text


def cited(row: dict[str, Any]) -> str:
    """How a citation names a passage's document: its title, or its source where it has none, and the page."""
    name = row["title"] or row["source"]
    return f"{name}, page {row['page']}" if row.get("page") is not None else str(name)


def passages(batches: Iterable[pa.RecordBatch], words: int, overlap: int) -> Iterator[list[dict[str, Any]]]:
    """Rows of SCHEMA for each batch of documents (`id, source, url, text, metadata`)."""
    for batch in batches:
        rows = []
        for document in batch.to_pylist():
            metadata = read_metadata(document["metadata"])
            title, page = as_text(metadata.get("title")), metadata.get("page")
            for number, (start, stop) in enumerate(cut(document["text"], words, overlap)):
                text = document["text"][start:stop]
                rows.append(
                    {
                        "id": f"{document['id']}#{number}",
                        "document_id": document["id"],
                        "source": document["source"],
                        "url": document["url"],
                        "title": title,
                        "page": page if type(page) is int and 0 < page < MAX_PAGE else None,
                        "text": text,
                        "start": start,
                        "stop": stop,
                        "hash": short_hash(title or "", text),
                    }
                )
        yield rows
