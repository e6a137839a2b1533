"""Params of tokenizer."""

from llm_core.params.base import Section


class Tokenizer(Section):
    """Knobs of tokenizer."""
