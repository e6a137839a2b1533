"""Params of the shards that document and token stages write."""

from pydantic import Field

from llm_core.params.base import Section


class Shards(Section):
    """How large a file of documents or tokens grows: what a takedown rewrites, and DVC stores and sends anew."""

    megabytes: float = Field(128.0, gt=0)
    """Text in a document shard on average, before compression (2^20 bytes); a longer document is never cut."""
    tokens: int = Field(1 << 26, ge=1)
    """Tokens in a token shard on average (67,108,864 are 128 MB of uint16)."""

    @property
    def bytes(self) -> int:
        """`megabytes` in bytes."""
        return max(int(self.megabytes * (1 << 20)), 1)
