"""Params of `llm-core serve`."""

from pydantic import Field

from llm_core.params.base import Section


class Serving(Section):
    """Limits of one request, and of all requests together, to the server."""

    concurrent: int = Field(4, ge=1)
    """Number of answers generated at once, each on a thread with its share of the cores; an answer sampled with
    `seed` runs alone."""
    waiting: int = Field(8, ge=0)
    """Maximum number of requests that wait for their turn; further ones are answered 429 with Retry-After."""
    new_tokens: int = Field(512, ge=1)
    """Maximum length of an answer in tokens; also the length for a request without max_tokens."""
    seconds: float = Field(120.0, gt=0)
    """Maximum time of an answer in seconds, without its time in the queue."""
    body_bytes: int = Field(1 << 20, ge=1)
    """Maximum size of a request in bytes."""
    body_seconds: float = Field(10.0, gt=0)
    """Maximum time in seconds in which a request's body must arrive; a slower client is answered 408."""
    bodies: int = Field(64, ge=1)
    """Maximum number of requests whose bodies are being received at once; more are answered 429."""
    grace_seconds: int = Field(20, ge=0)
    """Time in seconds that requests in progress have after TERM or Ctrl-C; then they are cut off."""
    traces: bool = False
    """Whether each request and its answer, with the words of both, is recorded as a trace in MLflow. Traces are written
    in the background and fail no request."""
