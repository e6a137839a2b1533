"""What one pass over the sample counts: the pieces of each source's text, its documents, bytes and words.

The tokens of a text are those of its pieces. So how well a new tokenizer fits the sample follows from the counts: only
the distinct pieces are encoded, and the text is not read again.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from llm_core.kernels.arrays import Bytes, Ints
from llm_core.tokenization.compression import TokenStatistics
from llm_core.tokenization.encoding import Encoder
from llm_core.tokenization.pre_tokenizer import character_classes, count_words
from llm_core.tokenization.training.counting import MAX_WORDS, PieceCounts, text_bytes


class SourcePart(NamedTuple):
    """What a part of the sample has of one source."""

    texts: Counter[str]
    """number of `documents`, `bytes` and `words`"""
    pieces: tuple[Bytes, Ints, Ints]
    """as `PieceCounts.result`"""
    complete: bool
    """whether no rare piece was dropped"""


def count(batches: Iterator[pa.RecordBatch], digits: int, runs: bool) -> dict[str, SourcePart]:
    """Count a part of the sample (source, text), by source."""
    pieces: dict[str, PieceCounts] = {}
    texts: dict[str, Counter[str]] = {}
    for batch in batches:
        sources, column = batch.column("source"), batch.column("text")
        names = pc.unique(sources).to_pylist()
        for name in names:
            if name not in pieces:
                pieces[name], texts[name] = PieceCounts(digits, runs), Counter()
            some = column if len(names) == 1 else column.filter(pc.equal(sources, name))
            pieces[name].add(some)
            data, offsets = text_bytes(some)
            words = int(count_words(data, offsets, character_classes()).sum())
            texts[name].update(documents=len(some), bytes=int(offsets[-1] - offsets[0]), words=words)
    return {name: SourcePart(texts[name], _taken(counts), counts.complete) for name, counts in pieces.items()}


def _taken(counts: PieceCounts) -> tuple[Bytes, Ints, Ints]:
    """The result without the table's free room: parts wait for their turn to be merged."""
    arena, starts, numbers = counts.result()
    return arena.copy(), starts.copy(), numbers.copy()


class SampleCounts:
    """The counts of a sample, merged part by part."""

    def __init__(self, digits: int, runs: bool, max_words: int = MAX_WORDS) -> None:
        self.pieces = PieceCounts(digits, runs, max_words)
        """those of all sources"""
        self.texts: dict[str, Counter[str]] = {}
        """of each source the number of `documents`, `bytes` and `words`"""
        self._by_source: dict[str, PieceCounts] | None = {}

    @property
    def sizes(self) -> dict[str, int]:
        """UTF-8 bytes of text of each source."""
        return {source: texts["bytes"] for source, texts in sorted(self.texts.items())}

    def merge(self, part: dict[str, SourcePart]) -> None:
        """Add a part, as `count` returns it. Beyond `max_words` pieces those of single sources are forgotten."""
        for source, (texts, pieces, complete) in part.items():
            self.texts.setdefault(source, Counter()).update(texts)
            self.pieces.merge(*pieces)
            if self._by_source is not None:
                if source not in self._by_source:
                    self._by_source[source] = PieceCounts(self.pieces.digits, self.pieces.runs, self.pieces.max_words)
                own = self._by_source[source]
                own.merge(*pieces)
                known = sum(counts.words for counts in self._by_source.values())
                if not (complete and own.complete) or known > self.pieces.max_words:
                    self._by_source = None

    def fit(self, encoder: Encoder) -> TokenStatistics | None:
        """How well the tokenizer fits the sample; None where it has more pieces than were remembered."""
        if self._by_source is None:
            return None
        statistics = TokenStatistics(encoder.size)
        for source, pieces in self._by_source.items():
            arena, starts, counts = pieces.result()
            statistics.add_pieces(source, self.texts[source], counts, *encoder.encode_pieces(arena, starts))
        return statistics
