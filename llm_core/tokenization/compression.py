"""How well a tokenizer fits a corpus: compression, fertility, unused tokens."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm_core.runtime.progress import log, report
from llm_core.tokenization.pre_tokenizer import character_classes, count_words
from llm_core.tokenization.training.counting import text_bytes


class Encodes(Protocol):
    """An encoder of a column of texts: the ids one after another, and where each text's ids begin ([texts + 1])."""

    def encode(self, texts: pa.LargeStringArray, /) -> tuple[npt.NDArray[np.unsignedinteger], npt.NDArray[np.int64]]:
        """Ids and starts of `texts`."""


class TokenStatistics:
    """Counts documents, bytes, words and tokens per source; words are runs of non-space (fertility = tokens per
    word)."""

    def __init__(self, vocab_size: int) -> None:
        self.used = np.zeros(vocab_size, np.int64)
        self.counts: dict[str, Counter[str]] = {}

    def add(
        self,
        sources: pa.StringArray,
        texts: pa.LargeStringArray,
        ids: npt.NDArray[np.unsignedinteger],
        starts: npt.NDArray[np.int64],
    ) -> None:
        """Count a batch: `ids` of `texts` one after another, and where each text's ids begin ([texts + 1])."""
        self.used += np.bincount(ids, minlength=len(self.used))
        data, offsets = text_bytes(texts)
        table = pa.table(
            {
                "source": sources,
                "bytes": np.diff(offsets),
                "words": count_words(data, offsets, character_classes()),
                "tokens": np.diff(starts),
            }
        )
        totals = table.group_by("source").aggregate(
            [("bytes", "sum"), ("words", "sum"), ("tokens", "sum"), ("bytes", "count")]
        )
        for row in totals.to_pylist():
            self.counts.setdefault(row["source"], Counter()).update(
                documents=row["bytes_count"], bytes=row["bytes_sum"], words=row["words_sum"], tokens=row["tokens_sum"]
            )

    def add_pieces(
        self,
        source: str,
        texts: Counter[str],
        counts: npt.NDArray[np.int64],
        ids: npt.NDArray[np.unsignedinteger],
        starts: npt.NDArray[np.int64],
    ) -> None:
        """Count a source by its pieces of text, of which the i-th occurs `counts[i]` times (int64 [pieces]).

        `ids` are those of the pieces one after another, `starts` where each begins (int64 [pieces + 1]); `texts` has
        the source's `documents`, `bytes` and `words`.
        """
        lengths = np.diff(starts)
        np.add.at(self.used, ids, np.repeat(counts, lengths))
        self.counts.setdefault(source, Counter()).update(texts, tokens=int((counts * lengths).sum()))

    def merge(self, other: "TokenStatistics") -> None:
        """Add the counts of other documents."""
        self.used += other.used
        for source, counts in other.counts.items():
            self.counts.setdefault(source, Counter()).update(counts)

    def summary(self) -> dict[str, Any]:
        """Totals and ratios, overall and per source, and the number of vocabulary tokens that never occurred."""
        everything: Counter[str] = Counter()
        for counts in self.counts.values():
            everything.update(counts)
        return {
            **_ratios(everything),
            "unused_tokens": int((self.used == 0).sum()),
            "by_source": {source: _ratios(counts) for source, counts in sorted(self.counts.items())},
        }


def measured(encoder: Encodes, size: int, batches: Iterable[pa.RecordBatch]) -> TokenStatistics:
    """The fit of a tokenizer of `size` tokens to documents (`source`, `text`)."""
    statistics = TokenStatistics(size)
    for batch in batches:
        statistics.add(batch.column("source"), batch.column("text"), *encoder.encode(batch.column("text")))
    return statistics


def announce(name: str, metrics: dict[str, Any]) -> None:
    """Log and report the fit of a tokenizer."""
    log(
        f"{name}: {metrics['vocab_size']} tokens, {metrics['bytes_per_token']:.3f} bytes a token, "
        f"{metrics['unused_tokens']} unused"
    )
    report({"tokenizer": metrics})


def _ratios(counts: Counter[str]) -> dict[str, Any]:
    return {
        "documents": counts["documents"],
        "bytes": counts["bytes"],
        "words": counts["words"],
        "tokens": counts["tokens"],
        "bytes_per_token": round(counts["bytes"] / max(counts["tokens"], 1), 6),
        "fertility": round(counts["tokens"] / max(counts["words"], 1), 6),
    }
