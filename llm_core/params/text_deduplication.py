"""Params of dedup within texts."""

from typing import Literal

from pydantic import Field

from llm_core.params.base import Section


class TextDeduplication(Section):
    """Which repeated pieces of text `dedup-text` takes out."""

    unit: Literal["paragraph", "line", "substring"] = "paragraph"
    """What is compared: paragraphs (blank lines between) or lines by their words, or any run of bytes exactly."""
    min_words: int = Field(10, ge=1)
    """Shorter paragraphs and lines stay: headings, refrains and short answers repeat rightly."""
    min_bytes: int = Field(200, ge=20)
    """Shortest repeated substring, in bytes of UTF-8; 50 tokens, as in Lee et al. (2022), are about 200."""
