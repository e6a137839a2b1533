"""Params of dedup within texts."""

from typing import Literal

from pydantic import Field

from llm_core.params.base import Section


class TextDeduplication(Section):
    """Which repeated pieces of text `dedup-text` takes out."""

    unit: Literal["paragraph", "line", "substring"] = "paragraph"
    """What is compared: paragraphs (blank lines between) or lines by their words, or any run of bytes exactly."""
    min_words: int = Field(10, ge=1)
    """Minimum number of words of a paragraph or line that is removed; headings and refrains may repeat."""
    min_bytes: int = Field(200, ge=20)
    """Minimum length of a repeated substring in bytes of UTF-8; the 50 tokens of Lee et al. (2022) are about 200."""
