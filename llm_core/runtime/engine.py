"""Where pieces are processed: in this process, in processes on this machine, or on a Ray cluster.

All three call the same function on the same pieces and hand the results over in the pieces' order, so that the bytes
written do not depend on the runner. Work under way is bounded: memory does not grow with the input.

Ray runs plain tasks, not Ray Data or daft: the pieces are already cut, the order must be kept, and nothing
is shuffled. The scratch folder must be visible to all nodes.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from llm_core.errors import UserError
from llm_core.params.launch import BatchLaunch
from llm_core.runtime.ray_cluster import ray_cluster

Item = TypeVar("Item")
Place = TypeVar("Place")
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


def on_batches(
    function: Callable[..., Result],
    batches: Iterable[tuple[Place, Item]],
    shared: Sequence[Any],
    launch: BatchLaunch,
    stage: str,
) -> Iterator[tuple[Place, Result]]:
    """Apply `function(item, *shared)` to each (place, item), a few ahead; (place, result) in the same order.

    In threads of this process, so `function` is worth it where it is compiled code without the interpreter's lock, or
    on Ray, where `shared` is sent to each node once. `stage` names the section of `launch`.
    """
    if launch.runner == "ray":
        with ray_cluster(f"launch.{stage}.runner", launch.workers) as (ray, cpus):
            remote, sent = ray.remote(function), [ray.put(value) for value in shared]
            on_ray = ahead(batches, lambda batch: remote.remote(batch[1], *sent), ray.get, AHEAD * cpus)
            yield from ((place, result) for (place, _), result in on_ray)
        return
    workers = launch.workers or len(os.sched_getaffinity(0))
    if workers == 1:
        yield from ((place, function(item, *shared)) for place, item in batches)
        return
    with ThreadPoolExecutor(workers) as pool:
        futures = ahead(batches, lambda batch: pool.submit(function, batch[1], *shared), Future.result, workers)
        yield from ((place, result) for (place, _), result in futures)


def run(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    runner: str,
    workers: int,
    retry: Callable[[Item], bool] | None = None,
) -> Iterator[Result]:
    """Apply `function` (importable by name) to each item, results in order.

    A function that may end its own process (a bound on time) needs `retry`: whether an item whose process has died
    will go further in another attempt. It is never called in this process then. Raises UserError where a worker died
    and no item would.
    """
    if runner == "ray":
        yield from _run_ray(function, items, workers)
        return
    workers = min(workers or len(os.sched_getaffinity(0)), len(items))
    if workers <= 1 and retry is None:
        yield from map(function, items)
    elif items:
        yield from _run_processes(function, items, workers, retry or (lambda _: False))


def _run_processes(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, retry: Callable[[Item], bool]
) -> Iterator[Result]:
    import threading
    from concurrent.futures import Future, ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import get_context

    def submit(item: Item) -> "Future[Result]":
        return pool.submit(function, item)

    # One forked worker starts at once, with all that is loaded here; a fork is safe only where no other thread runs.
    method = "fork" if workers == 1 and threading.active_count() == 1 else "forkserver"
    left = deque(items)
    while left:
        with ProcessPoolExecutor(workers, mp_context=get_context(method)) as pool:
            try:
                for _, result in ahead(list(left), submit, Future.result, workers * AHEAD - 1):
                    left.popleft()
                    yield result
            except BrokenProcessPool:
                if not any(map(retry, left)):
                    raise UserError("a worker process was killed (out of memory?); give fewer workers") from None
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _run_ray(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    with ray_cluster("launch.cleaning.runner", workers) as (ray, cpus):
        remote = ray.remote(function)
        for _, result in ahead(items, remote.remote, ray.get, AHEAD * cpus - 1):
            yield result
