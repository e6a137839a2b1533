"""Uses of a model as MLflow traces: one for each question or request, with a span for each model call, search and tool.

What is used knows nothing of MLflow: it notes plain `Step`s with their own times, and they are written afterwards.
Addresses in them are redacted as in everything that is printed, and long texts are cut. A use never fails because its
trace cannot be written; a line says so instead.
"""

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from llm_core.runtime.progress import log
from llm_core.runtime.redaction import redact, redact_values
from llm_core.tracking import prompts
from llm_core.tracking.experiments import experiment
from llm_core.tracking.runs import client

Kind = Literal["AGENT", "CHAIN", "CHAT_MODEL", "EMBEDDING", "LLM", "RETRIEVER", "TOOL"]
"""MLflow's kinds of span, as far as they are used here"""
TEXT_LENGTH = 20_000
"""Maximum number of characters of one text in a span; a request to the server may have a million."""
WAITING = 256
"""Number of traces that may wait for a store that is slower than the server; further ones are counted and lost."""


@dataclass
class Step:
    """One span: what went in, what came out, and when (nanoseconds since 1970)."""

    kind: Kind
    name: str
    inputs: Any
    outputs: Any = None
    started: int = field(default_factory=time.time_ns)
    ended: int = 0
    model: str = ""
    tokens_read: int | None = None
    tokens_written: int | None = None
    error: str = ""
    templates: prompts.Templates = field(default_factory=dict)
    """the templates by which it asked, which are linked from the trace (`tracking/prompts.py`)"""

    def end(self, outputs: Any) -> None:
        """It ends now, with these outputs."""
        self.outputs, self.ended = outputs, time.time_ns()


Keep = Callable[[Step], None]


@contextmanager
def noted(keep: Keep, step: Step) -> Iterator[Step]:
    """Give `step` to `keep` when the block ends, with its end and the error that ended it."""
    try:
        yield step
    except BaseException as error:
        step.error = f"{type(error).__name__}: {error}"
        raise
    finally:
        step.ended = time.time_ns()
        keep(step)


def write(root: Step, steps: Sequence[Step]) -> None:
    """Write one trace and read it back: MLflow itself hides most of what may go wrong on the way to the store."""
    os.environ.setdefault("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    store = client()
    import mlflow

    place = experiment(store, "use")
    first = _begun(mlflow, root, experiment_id=place)
    try:
        for step in steps:
            _end(_begun(mlflow, step, parent_span=first), step)
    finally:
        _end(first, root)
    mlflow.flush_trace_async_logging()
    written = len(store.get_trace(first.trace_id, display=False).data.spans)
    if written != len(steps) + 1:
        raise OSError(f"the store has {written} of {len(steps) + 1} spans of trace {first.trace_id}")
    used = {name: text for step in (root, *steps) for name, text in step.templates.items()}
    prompts.link_trace(store, place, first.trace_id, used)


def keep(make: Callable[[], tuple[Step, Sequence[Step]]]) -> bool:
    """Write the trace that `make` gives and return True; one that cannot be written is a line in the log, and False."""
    try:
        write(*make())
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        log(f"tracking: a trace was not recorded ({type(error).__name__}: {redact(reason)})")
        return False
    return True


class Writer:
    """Writes traces on a thread of its own, so that no request waits for the store or fails with it."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Callable[[], tuple[Step, Sequence[Step]]] | None] = queue.Queue(WAITING)
        self._queued = self._written = self._refused = 0  # each changed by one thread alone
        self._thread = threading.Thread(target=self._work, name="traces", daemon=True)
        self._thread.start()

    def __call__(self, make: Callable[[], tuple[Step, Sequence[Step]]]) -> None:
        """Queue the trace that `make` will give; returns at once, also where the queue is full."""
        try:
            self._waiting.put_nowait(make)
            self._queued += 1
        except queue.Full:
            if not self._refused:
                log("tracking: traces are lost, because the store takes them too slowly")
            self._refused += 1

    def close(self, seconds: float) -> None:
        """Write what waits, for at most some seconds; a line says how many traces were not recorded."""
        end = time.monotonic() + seconds
        with suppress(queue.Full):  # then the thread hangs in the store
            self._waiting.put(None, timeout=seconds)
        self._thread.join(max(0.0, end - time.monotonic()))
        lost = self._queued + self._refused - self._written
        if lost:
            log(f"tracking: {lost} trace(s) were not recorded; the store refused them or was too slow")

    def _work(self) -> None:
        while (make := self._waiting.get()) is not None:
            self._written += keep(make)


def _begun(mlflow: Any, step: Step, **place: Any) -> Any:
    attributes: dict[str, Any] = {"mlflow.llm.model": step.model} if step.model else {}
    tokens = {"input_tokens": step.tokens_read, "output_tokens": step.tokens_written}
    usage = {name: count for name, count in tokens.items() if count is not None}
    if usage:
        attributes["mlflow.chat.tokenUsage"] = usage | {"total_tokens": sum(usage.values())}
    return mlflow.start_span_no_context(
        step.name, span_type=step.kind, inputs=_shown(step.inputs), attributes=attributes, start_time_ns=step.started,
        **place,
    )  # fmt: skip


def _end(span: Any, step: Step) -> None:
    if step.error:
        span.set_attribute("error", _text(step.error))
    span.end(outputs=_shown(step.outputs), status="ERROR" if step.error else "OK", end_time_ns=step.ended or None)


def _shown(value: Any) -> Any:
    return redact_values(value, _text)


def _text(text: str) -> str:
    """A text without secrets of addresses, in characters that a database takes, and not too long."""
    text = redact(text).encode("utf-8", "replace").decode()
    more = len(text) - TEXT_LENGTH
    return text if more <= 0 else f"{text[:TEXT_LENGTH]}… ({more:,} more characters)"
