"""Params of `llm-core serve`."""

from pydantic import Field

from llm_core.params.base import Section


class Serving(Section):
    """What one request, and all at once, may ask of the server."""

    concurrent: int = Field(4, ge=1)
    """Answers generated at once, each on a thread with its share of the cores; one sampled with `seed` runs alone."""
    waiting: int = Field(8, ge=0)
    """Requests that may wait for their turn beyond those; more are answered 429 with Retry-After."""
    new_tokens: int = Field(512, ge=1)
    """Most tokens of an answer; also what a request without max_tokens gets."""
    seconds: float = Field(120.0, gt=0)
    """Longest time of an answer, its turn in the queue not counted."""
    body_bytes: int = Field(1 << 20, ge=1)
    """Maximum size of a request in bytes."""
    body_seconds: float = Field(10.0, gt=0)
    """Maximum time in seconds in which a request's body must arrive; a slower client is answered 408."""
    bodies: int = Field(64, ge=1)
    """Maximum number of requests whose bodies are being received at once; more are answered 429."""
    grace_seconds: int = Field(20, ge=0)
    """After TERM or Ctrl-C requests in progress have so long to end; then they are cut off."""
