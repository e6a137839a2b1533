"""Params of the quality rules: datatrove's classes, their thresholds by the same names and with the same defaults.

A threshold of null switches its rule off.
"""

from typing import Annotated, Literal

from pydantic import Field

from llm_core.params.base import Section

STOP_WORDS = ["the", "be", "to", "of", "and", "that", "have", "with"]


class GopherQuality(Section):
    """Gopher's quality rules (Rae et al. 2021)."""

    rule: Literal["gopher_quality"] = "gopher_quality"
    min_doc_words: int | None = 50
    """Fewest words that are not only punctuation."""
    max_doc_words: int | None = 100000
    """Most of them."""
    min_avg_word_length: float | None = 3
    """Shortest mean length of those words, in characters."""
    max_avg_word_length: float | None = 10
    """Longest."""
    max_symbol_word_ratio: float | None = 0.1
    """Most number signs, or ellipses, for each word."""
    max_bullet_lines_ratio: float | None = 0.9
    """Largest share of lines that begin with a bullet or a hyphen."""
    max_ellipsis_lines_ratio: float | None = 0.3
    """Largest share of lines that end in an ellipsis."""
    max_non_alpha_words_ratio: float | None = 0.8
    """Smallest share of words with a letter in them (named as in datatrove)."""
    min_stop_words: int | None = 2
    """Fewest different stop words."""
    stop_words: list[str] = Field(default=STOP_WORDS, max_length=63)
    """The stop words, as they are written."""


class GopherRepetition(Section):
    """Gopher's repetition rules (Rae et al. 2021, table A1)."""

    rule: Literal["gopher_repetition"] = "gopher_repetition"
    dup_line_frac: float | None = 0.3
    """Largest share of lines that occurred before."""
    dup_para_frac: float | None = 0.3
    """Largest share of paragraphs that occurred before."""
    dup_line_char_frac: float | None = 0.2
    """Largest share of characters in such lines."""
    dup_para_char_frac: float | None = 0.2
    """Largest share of characters in such paragraphs."""
    top_n_grams: list[tuple[int, float]] = Field(default=[(2, 0.2), (3, 0.18), (4, 0.16)])
    """(n, largest share of characters in the most frequent n-gram)."""
    dup_n_grams: list[tuple[int, float]] = Field(
        default=[(5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)]
    )
    """(n, largest share of characters in n-grams that occurred before)."""


class C4(Section):
    """C4's rules (Raffel et al. 2020): drops lines, then documents."""

    rule: Literal["c4"] = "c4"
    remove_citations: bool = True
    """Remove marks such as [1], [edit] and [citation needed]."""
    filter_no_terminal_punct: bool = True
    """Drop lines that do not end in a punctuation mark."""
    min_num_sentences: int = 5
    """Fewest sentences left; -1 for no limit."""
    min_words_per_line: int = 3
    """Shorter lines are dropped."""
    max_word_length: int = 1000
    """Lines with a longer word are dropped; -1 for no limit."""
    filter_lorem_ipsum: bool = True
    """Drop documents with "lorem ipsum"."""
    filter_javascript: bool = True
    """Drop lines that mention JavaScript."""
    filter_curly_bracket: bool = True
    """Drop documents with a curly bracket."""
    filter_policy: bool = True
    """Drop lines about cookies, terms of use and privacy policies."""


class FineWebQuality(Section):
    """FineWeb's own rules (Penedo et al. 2024)."""

    rule: Literal["fineweb_quality"] = "fineweb_quality"
    line_punct_thr: float = 0.12
    """Smallest share of lines that end in a punctuation mark."""
    line_punct_exclude_zero: bool = False
    """Let documents pass in which no line does."""
    stop_chars: list[Annotated[str, Field(min_length=1, max_length=1)]] | None = None
    """The punctuation marks; null for Unicode's."""
    short_line_thr: float = 0.67
    """Largest share of short lines."""
    short_line_length: int = 30
    """Longest line that counts as short, in characters."""
    char_duplicates_ratio: float = 0.01
    """Largest share of characters in repeated lines."""
    new_line_ratio: float = 0.3
    """Most line feeds for each word."""


Rule = Annotated[GopherQuality | GopherRepetition | C4 | FineWebQuality, Field(discriminator="rule")]
BUILT_IN: dict[str, list[GopherQuality | GopherRepetition | C4 | FineWebQuality]] = {
    "gopher_quality": [GopherQuality()],
    "gopher_repetition": [GopherRepetition()],
    "c4": [C4()],
    "fineweb_quality": [FineWebQuality()],
    "fineweb": [GopherRepetition(), GopherQuality(), C4(filter_no_terminal_punct=False), FineWebQuality()],
}
