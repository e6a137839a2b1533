"""FineWeb's own rules: line endings, short lines, repeated lines, lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from llm_core.corpus.cleaning.characters import TERMINAL_PUNCTUATION
from llm_core.params.quality import Rule

if TYPE_CHECKING:
    from llm_core.corpus.cleaning.quality import Judge, Judged
    from llm_core.corpus.cleaning.token_memo import Tokens, Words


class FineWebQuality(Rule):
    """FineWeb's own rules (Penedo et al. 2024)."""

    THRESHOLDS: ClassVar[dict[str, str]] = {
        "line_punct_ratio": "line_punct_thr",
        "short_line_ratio": "short_line_thr",
        "char_dup_ratio": "char_duplicates_ratio",
        "list_ratio": "new_line_ratio",
    }

    rule: Literal["fineweb_quality"] = "fineweb_quality"
    """Name of the rule."""
    line_punct_thr: float = 0.12
    """Minimum share of lines that end in a punctuation mark."""
    line_punct_exclude_zero: bool = False
    """Keep documents in which no line ends in a punctuation mark."""
    stop_chars: list[Annotated[str, Field(min_length=1, max_length=1)]] | None = None
    """Punctuation marks that end a line; null for Unicode's Sentence_Terminal."""
    short_line_thr: float = 0.67
    """Maximum share of short lines."""
    short_line_length: int = 30
    """Maximum length of a short line, in characters."""
    char_duplicates_ratio: float = 0.01
    """Maximum share of characters in repeated lines."""
    new_line_ratio: float = 0.3
    """Maximum ratio of line feeds to words."""

    def judge(self, words: Words) -> Judge:
        """See `Rule.judge`."""
        from llm_core.corpus.cleaning import kernels_web as web
        from llm_core.corpus.cleaning.quality import room

        limits = np.array(
            [
                self.line_punct_thr,
                self.short_line_thr,
                self.short_line_length,
                self.char_duplicates_ratio,
                self.new_line_ratio,
            ],
            np.float64,
        )
        marks = np.array(sorted(map(ord, self.stop_chars or TERMINAL_PUNCTUATION)), np.int32)

        def judge(t: Tokens) -> Judged:
            codes, scores = room(t)
            web.judge_fineweb(
                t.data, t.bounds, t.chunks, t.first, limits, self.line_punct_exclude_zero, marks, codes, scores
            )
            return [web.FINEWEB_REASONS[code - 1] if code else None for code in codes.tolist()], scores, None

        return judge


RULE = FineWebQuality
