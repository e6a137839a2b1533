"""Params of the shards that document and token stages write."""

from pydantic import Field

from llm_core.params.base import Section


class Shards(Section):
    """Size of the files of documents and tokens. A takedown rewrites whole files; DVC stores and sends whole ones."""

    megabytes: float = Field(128.0, gt=0)
    """Mean size of a document shard before compression, in MiB of text; a longer document is never cut."""
    tokens: int = Field(1 << 26, ge=1)
    """Mean number of tokens in a token shard (67,108,864 are 128 MB of uint16)."""

    @property
    def bytes(self) -> int:
        """`megabytes` in bytes."""
        return max(int(self.megabytes * (1 << 20)), 1)
