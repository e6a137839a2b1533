"""Gopher's quality rules: document and word lengths, symbols, bullets, ellipses, stop words."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from llm_core.params.quality import Rule

if TYPE_CHECKING:
    from llm_core.corpus.cleaning.quality import Judge, Judged
    from llm_core.corpus.cleaning.token_memo import Tokens, Words

STOP_WORDS = ["the", "be", "to", "of", "and", "that", "have", "with"]


class GopherQuality(Rule):
    """Gopher's quality rules (Rae et al. 2021)."""

    THRESHOLDS: ClassVar[dict[str, str]] = {
        "gopher_short_doc": "min_doc_words",
        "gopher_long_doc": "max_doc_words",
        "gopher_below_avg_threshold": "min_avg_word_length",
        "gopher_above_avg_threshold": "max_avg_word_length",
        "gopher_too_many_hashes": "max_symbol_word_ratio",
        "gopher_too_many_ellipsis": "max_symbol_word_ratio",
        "gopher_too_many_bullets": "max_bullet_lines_ratio",
        "gopher_too_many_end_ellipsis": "max_ellipsis_lines_ratio",
        "gopher_below_alpha_threshold": "max_non_alpha_words_ratio",
        "gopher_enough_stop_words": "min_stop_words",
    }

    rule: Literal["gopher_quality"] = "gopher_quality"
    """Name of the rule."""
    min_doc_words: int | None = 50
    """Minimum number of words, those of punctuation alone not counted."""
    max_doc_words: int | None = 100000
    """Maximum number of words, those of punctuation alone not counted."""
    min_avg_word_length: float | None = 3
    """Minimum mean word length, in characters."""
    max_avg_word_length: float | None = 10
    """Maximum mean word length, in characters."""
    max_symbol_word_ratio: float | None = 0.1
    """Maximum ratio of number signs, and of ellipses, to words."""
    max_bullet_lines_ratio: float | None = 0.9
    """Maximum share of lines that begin with a bullet or a hyphen."""
    max_ellipsis_lines_ratio: float | None = 0.3
    """Maximum share of lines that end in an ellipsis."""
    max_non_alpha_words_ratio: float | None = 0.8
    """Minimum share of words that contain a letter; the name is datatrove's."""
    min_stop_words: int | None = 2
    """Minimum number of different stop words."""
    stop_words: list[str] = Field(default=STOP_WORDS, max_length=63)
    """The stop words, spelled and capitalised as they must occur."""

    def judge(self, words: Words) -> Judge:
        """See `Rule.judge`."""
        from llm_core.corpus.cleaning import kernels_gopher as gopher
        from llm_core.corpus.cleaning.quality import room
        from llm_core.corpus.cleaning.token_memo import hash_token

        names = (
            "min_doc_words",
            "max_doc_words",
            "min_avg_word_length",
            "max_avg_word_length",
            "max_symbol_word_ratio",
            "max_bullet_lines_ratio",
            "max_ellipsis_lines_ratio",
            "max_non_alpha_words_ratio",
            "min_stop_words",
        )
        limits = np.array([getattr(self, name) or 0 for name in names], np.float64)
        stop_words = np.array([hash_token(word) for word in dict.fromkeys(self.stop_words)], np.uint64)

        def judge(t: Tokens) -> Judged:
            codes, scores = room(t)
            gopher.judge_quality(
                t.data, t.bounds, t.chunks, t.first, t.hashes, t.lengths, t.flags, limits, stop_words, codes, scores
            )
            return [gopher.QUALITY_REASONS[code - 1] if code else None for code in codes.tolist()], scores, None

        return judge


RULE = GopherQuality
