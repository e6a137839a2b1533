"""Params of finetuning."""

from llm_core.params.base import Section


class Finetuning(Section):
    """Knobs of finetuning."""
