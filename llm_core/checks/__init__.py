"""Checks between the stages: pure functions from output folders to a verdict with what to do.

Dagster shows them as asset checks (`pipelines/checks.py`). They read the stages' files alone:
the document, ledger and token-shard formats, never another room's internals.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Verdict:
    """Whether a check passed, in words (with what to do where it failed), and its figures."""

    passed: bool
    message: str
    figures: dict[str, Any] = field(default_factory=dict)
