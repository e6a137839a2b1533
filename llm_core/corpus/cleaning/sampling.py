"""A sample of documents for training a model of cleaning: those with the smallest hashes of their texts.

It does not depend on the order of the files or of the documents, and holds each text once.
"""

import heapq
from collections.abc import Sequence
from pathlib import Path

from llm_core.formats.documents import read_documents
from llm_core.runtime.digests import short_hash
from llm_core.runtime.progress import task


def sample_texts(
    name: str,
    paths: Sequence[str | Path],
    seed: int,
    characters: int | None = None,
    max_documents: int | None = None,
    max_characters: int | None = None,
) -> list[str]:
    """Beginnings of `characters` of different documents, in the order of their hashes; none that is blank.

    There are at most `max_documents`, of at most `max_characters` together, so that memory is bounded.
    """
    chosen: list[tuple[int, str]] = []  # a heap with the largest hash first
    seen: set[int] = set()
    total = 0
    with task(f"read {name} documents", unit="documents") as progress:
        for batch in read_documents(paths, columns=["text"]):
            for text in batch.column("text").to_pylist():
                key = int(short_hash(str(seed), text or ""), 16)
                if not text or not text.strip() or key in seen:
                    continue
                beginning = text[:characters]
                heapq.heappush(chosen, (-key, beginning))
                seen.add(key)
                total += len(beginning)
                while (max_documents and len(chosen) > max_documents) or (max_characters and total > max_characters):
                    largest, dropped = heapq.heappop(chosen)
                    seen.discard(-largest)
                    total -= len(dropped)
            progress.update(batch.num_rows)
    return [text for _, text in sorted(chosen, reverse=True)]
