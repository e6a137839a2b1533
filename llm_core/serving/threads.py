"""transformers' generation on several threads at once, each able to stop when its client leaves.

transformers' own `GenerateManager` runs one answer after the other on one thread, and runs a whole (not streamed)
answer to its end even if nobody waits for it. Its continuous batching is no alternative: it takes one generation config
for all requests, so requests could not have their own temperatures and stop strings.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList
from transformers.cli.serving.utils import GenerateManager


class _Left(StoppingCriteria):  # type: ignore[misc]
    """Ends a generation after the next token once its event is set."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), self._event.is_set(), dtype=torch.bool, device=input_ids.device)


class ThreadedGeneration(GenerateManager):  # type: ignore[misc]
    """`threads` answers at once on one network; they share the cores equally."""

    def __init__(self, threads: int) -> None:
        share = max(1, (os.cpu_count() or 1) // threads)  # OpenMP's number of threads is one of each calling thread
        self._pool = ThreadPoolExecutor(threads, "generate", torch.set_num_threads, (share,))
        self._running: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        """Run `fn` on a free thread (used for streams; their streamer cancels them)."""
        future = self._pool.submit(fn, *args, **kwargs)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        return future

    def async_submit(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        """Run `fn`, which is `generate`, on a free thread; cancelling the awaited result ends it at its next token."""
        left = threading.Event()
        criteria = StoppingCriteriaList([_Left(left)])
        waited = asyncio.wrap_future(self.submit(fn, *args, stopping_criteria=criteria, **kwargs))
        waited.add_done_callback(lambda done: left.set() if done.cancelled() else None)
        return waited

    def generate_streaming(self, *args: Any, **kwargs: Any) -> tuple[asyncio.Queue[Any], Any]:
        """Start an answer that is streamed; it ends at its next token when the task of its request is done.

        transformers' generator of the stream notices only what happens while it is read: not that the client left
        before the first part, nor, until the garbage collector comes, that it left while a part was being sent.
        """
        queue, streamer = super().generate_streaming(*args, **kwargs)
        task = asyncio.current_task()
        if task:
            task.add_done_callback(lambda _: streamer.cancel())
        return queue, streamer

    async def idle(self) -> None:
        """Return when no thread generates; an answer whose client left still runs to its next token."""
        while running := list(self._running):
            await asyncio.gather(*map(asyncio.wrap_future, running), return_exceptions=True)
