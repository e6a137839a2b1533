"""Params of pretraining."""

from llm_core.params.base import Section


class Pretraining(Section):
    """Knobs of pretraining."""
