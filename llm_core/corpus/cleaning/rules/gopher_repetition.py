"""Gopher's repetition rules: repeated lines, paragraphs and n-grams of words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field

from llm_core.params.quality import Rule

if TYPE_CHECKING:
    from llm_core.corpus.cleaning.quality import Judge, Judged
    from llm_core.corpus.cleaning.token_memo import Tokens, Words

NGRAMS = re.compile(r"(top|duplicated)_(\d+)_(?:n_)?grams?")


class GopherRepetition(Rule):
    """Gopher's repetition rules (Rae et al. 2021, table A1)."""

    THRESHOLDS: ClassVar[dict[str, str]] = {
        "dup_line_frac": "dup_line_frac",
        "dup_para_frac": "dup_para_frac",
        "dup_line_char_frac": "dup_line_char_frac",
        "dup_para_char_frac": "dup_para_char_frac",
    }

    rule: Literal["gopher_repetition"] = "gopher_repetition"
    """Name of the rule."""
    dup_line_frac: float | None = 0.3
    """Maximum share of lines that repeat an earlier line."""
    dup_para_frac: float | None = 0.3
    """Maximum share of paragraphs that repeat an earlier paragraph."""
    dup_line_char_frac: float | None = 0.2
    """Maximum share of characters in lines that repeat an earlier line."""
    dup_para_char_frac: float | None = 0.2
    """Maximum share of characters in paragraphs that repeat an earlier paragraph."""
    top_n_grams: list[tuple[int, float]] = Field(default=[(2, 0.2), (3, 0.18), (4, 0.16)])
    """Pairs (n, maximum share of characters in the most frequent n-gram of words)."""
    dup_n_grams: list[tuple[int, float]] = Field(
        default=[(5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)]
    )
    """Pairs (n, maximum share of characters in n-grams of words that occurred before)."""

    def judge(self, words: Words) -> Judge:
        """See `Rule.judge`."""
        from llm_core.corpus.cleaning import kernels_gopher as gopher
        from llm_core.corpus.cleaning.quality import room

        names = ("dup_line_frac", "dup_para_frac", "dup_line_char_frac", "dup_para_char_frac")
        limits = np.array([getattr(self, name) or 0 for name in names], np.float64)
        top = np.array(self.top_n_grams, np.float64).reshape(-1, 2)
        duplicated = np.array(self.dup_n_grams, np.float64).reshape(-1, 2)

        def reason(code: int) -> str | None:
            if code > gopher.DUPLICATED:
                return f"duplicated_{code - gopher.DUPLICATED}_n_grams"
            if code > gopher.TOP:
                return f"top_{code - gopher.TOP}_gram"
            return gopher.REPETITION_REASONS[code - 1] if code else None

        def judge(t: Tokens) -> Judged:
            codes, scores = room(t)
            gopher.judge_repetition(
                t.data, t.bounds, t.chunks, t.first, t.hashes, t.lengths, limits, top, duplicated, codes, scores
            )
            return [reason(code) for code in codes.tolist()], scores, None

        return judge

    def threshold(self, reason: str) -> float | None:
        """The threshold behind a reason; those of n-grams are named with their n."""
        found = NGRAMS.fullmatch(reason)
        if not found:
            return super().threshold(reason)
        return dict(self.top_n_grams if found[1] == "top" else self.dup_n_grams).get(int(found[2]))


RULE = GopherRepetition
