"""Statistics of a cleaning run besides its verdicts: lengths, languages, and samples of what was dropped.

Figures of pieces give the same result in whatever order they are added: counts are sums, and the samples of a reason
are the documents with the smallest hashed ids (bottom-k sampling), which is a uniform sample and needs no random state.
"""

import heapq
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from llm_core.corpus.cleaning.batch import Batch

EXCERPT_CHARACTERS = 1000
UNKNOWN = "unknown"


@dataclass
class Statistics:
    """Counts of one piece, or of several added up."""

    samples_per_reason: int = 20
    lengths: Counter[tuple[str, str, int]] = field(
        default_factory=Counter
    )  # (source, kept|dropped, log2 of characters)
    languages: Counter[tuple[str, str]] = field(default_factory=Counter)  # (source, language) of kept documents
    bytes_out: Counter[str] = field(default_factory=Counter)  # source -> UTF-8 bytes of the kept texts
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)  # (source, step) -> documents it changed
    tallies: Counter[tuple[str, str]] = field(default_factory=Counter)  # (source, name) -> counts that the steps keep
    samples: dict[tuple[str, str], list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Count the documents of a finished batch."""
        self.tallies.update(batch.tallies)
        for row, source in enumerate(batch.sources):
            text = batch.texts[row]
            reason = batch.reasons.get(row)
            self.lengths[source, "dropped" if reason else "kept", len(text).bit_length()] += 1
            for step in batch.changes.get(row, ()):
                self.changes[source, step] += 1
            if reason:
                self._sample(batch, row, source, reason)
            else:
                self.languages[source, batch.languages[row] or UNKNOWN] += 1
                self.bytes_out[source] += len(text.encode())

    def merge(self, other: "Statistics") -> None:
        """Add another piece's counts and samples to these."""
        for name in ("lengths", "languages", "bytes_out", "changes", "tallies"):
            getattr(self, name).update(getattr(other, name))
        for key, heap in other.samples.items():
            mine = self.samples.setdefault(key, [])
            mine.extend(heap)
            mine.sort(key=_order)
            del mine[self.samples_per_reason :]

    def sampled(self) -> list[dict[str, Any]]:
        """The sampled drops, by source and reason, in the order of their hashes."""
        return [row for key in sorted(self.samples) for _, row in sorted(self.samples[key], key=_order)]

    def summary(self) -> dict[str, Any]:
        """Nested metrics: bytes written, lengths and languages per source."""
        sources = sorted({source for source, *_ in self.lengths})
        return {
            "bytes_out": sum(self.bytes_out.values()),
            "length_characters": {
                source: {
                    fate: {
                        f"<{1 << bits}": count
                        for (name, kind, bits), count in sorted(self.lengths.items())
                        if (name, kind) == (source, fate)
                    }
                    for fate in ("kept", "dropped")
                }
                for source in sources
            },
            "languages": {
                source: {name: n for (owner, name), n in sorted(self.languages.items()) if owner == source}
                for source in sources
            },
            "found": {
                source: {name: n for (owner, name), n in sorted(self.tallies.items()) if owner == source}
                for source in sources
            },
            "changed_by_step": {
                source: {name: n for (owner, name), n in sorted(self.changes.items()) if owner == source}
                for source in sources
            },
        }

    def _sample(self, batch: Batch, row: int, source: str, reason: str) -> None:
        if not self.samples_per_reason:
            return
        order = zlib.crc32(batch.ids[row].encode())
        mine = self.samples.setdefault((source, reason), [])
        if len(mine) >= self.samples_per_reason and (order, batch.ids[row]) >= _order(mine[-1]):
            return
        sample = {
            "id": batch.ids[row],
            "source": source,
            "reason": reason,
            "score": batch.scores.get(row),
            "url": batch.urls[row],
            "language": batch.languages[row],
            "characters": len(batch.texts[row]),
            "excerpt": batch.texts[row][:EXCERPT_CHARACTERS],
        }
        mine[:] = heapq.nsmallest(self.samples_per_reason, [*mine, (order, sample)], key=_order)


def _order(item: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    return item[0], item[1]["id"]
