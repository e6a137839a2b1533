"""Where pieces are processed: in this process, in processes on this machine, or on a Ray cluster.

All three call the same function on the same pieces and hand the results over in the pieces' order, so that the bytes
written do not depend on the runner. Work under way is bounded: memory does not grow with the input.

Ray runs plain tasks, not Ray Data or daft: the pieces are already cut, the order must be kept, and nothing
is shuffled. The scratch folder must be visible to all nodes.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from llm_core.runtime.ray_cluster import ray_cluster

Item = TypeVar("Item")
Result = TypeVar("Result")
Handle = TypeVar("Handle")
AHEAD = 2  # pieces under way for each worker


def ahead(
    items: Iterable[Item], submit: Callable[[Item], Handle], collect: Callable[[Handle], Result], depth: int
) -> Iterator[tuple[Item, Result]]:
    """Submit items one after the other and collect their results in the same order, at most `depth` + 1 under way.

    So workers always have something to do, and memory does not grow with the number of items. `submit` begins the
    work and returns a handle (a future, a Ray reference); `collect` waits for it.
    """
    waiting: deque[tuple[Item, Handle]] = deque()
    for item in items:
        waiting.append((item, submit(item)))
        if len(waiting) > depth:
            first, handle = waiting.popleft()
            yield first, collect(handle)
    while waiting:
        first, handle = waiting.popleft()
        yield first, collect(handle)


def run(function: Callable[[Item], Result], items: Sequence[Item], runner: str, workers: int) -> Iterator[Result]:
    """Apply `function` (importable by name) to each item, results in order."""
    if runner == "ray":
        yield from _run_ray(function, items, workers)
        return
    workers = min(workers or len(os.sched_getaffinity(0)), len(items))
    if workers <= 1:
        yield from map(function, items)
    else:
        yield from _run_processes(function, items, workers)


def _run_processes(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    from concurrent.futures import Future, ProcessPoolExecutor
    from multiprocessing import get_context

    def submit(item: Item) -> "Future[Result]":
        return pool.submit(function, item)

    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        try:
            for _, result in ahead(items, submit, Future.result, workers * AHEAD - 1):
                yield result
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run_ray(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    with ray_cluster("launch.cleaning.runner", workers) as (ray, cpus):
        remote = ray.remote(function)
        for _, result in ahead(items, remote.remote, ray.get, AHEAD * cpus - 1):
            yield result
