"""Where pieces are processed: in this process, in processes on this machine, or on a Ray cluster.

All three call the same function on the same pieces and hand the results over in the pieces' order, so that the bytes
written do not depend on the runner. Work under way is bounded: memory does not grow with the input.

Ray runs plain tasks, not Ray Data or daft: the pieces are already cut, the order must be kept, and nothing
is shuffled. The project's folder and the inputs must be visible to all nodes, under the same paths.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from llm_core.errors import UserError
from llm_core.runtime.guard import end_with
from llm_core.runtime.progress import log
from llm_core.runtime.ray_cluster import in_folder, ray_cluster

Item = TypeVar("Item")
Result = TypeVar("Result")
Handle = TypeVar("Handle")
AHEAD = 2  # pieces under way for each worker
TRIES = 4  # of a piece whose worker or node dies, on Ray


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


def in_threads(
    function: Callable[..., Result], items: Iterable[Item], shared: Sequence[Any], workers: int
) -> Iterator[tuple[Item, Result]]:
    """Apply `function(item, *shared)` to each item in threads of this process (0: one for each core), a few ahead.

    (item, result) in the items' order. Threads help where the function is compiled code without the interpreter's lock.
    """
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1:
        yield from ((item, function(item, *shared)) for item in items)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from ahead(items, lambda item: pool.submit(function, item, *shared), Future.result, workers)


def on_ray(
    function: Callable[..., Result],
    items: Iterable[Item],
    shared: Sequence[Any],
    param: str,
    workers: int,
    retry: Callable[[Item], bool] | None = None,
) -> Iterator[tuple[Item, Result]]:
    """Apply `function(item, *shared)` to each item as Ray tasks, a few ahead; (item, result) in the items' order.

    `function` is importable by name, items and results are small, and `shared` is sent to each node once. `param` is
    the knob that asked for Ray, `workers` the CPUs of a cluster that is started here. A task whose node or worker dies
    runs again elsewhere, up to TRIES times, and once more whenever `retry(item)` says that it got further. Raises
    UserError, which names the item, where it is lost for good.
    """
    with ray_cluster(param, workers) as (ray, cpus):
        # Spread: pieces are read from shared storage, so that no node is nearer to them than another.
        task = ray.remote(max_retries=TRIES - 1, scheduling_strategy="SPREAD")(in_folder)
        sent = [ray.put(value) for value in shared]
        done: Counter[str] = Counter()

        def submit(item: Item) -> tuple[Item, Any]:
            return item, task.remote(str(Path.cwd()), function, item, *sent)

        def collect(handle: tuple[Item, Any]) -> Result:
            item, reference = handle
            while True:
                try:
                    node, result = ray.get(reference)
                    done[node] += 1
                    return result  # type: ignore[no-any-return]
                except ray.exceptions.RayTaskError:
                    raise
                except ray.exceptions.RayError as error:
                    if retry is None or not retry(item):
                        why = str(error).splitlines()[0]
                        raise UserError(
                            f"{param}: {item}: lost {TRIES} times with its worker or node ({why})"
                        ) from None
                    reference = submit(item)[1]

        yield from ahead(items, submit, collect, AHEAD * cpus - 1)
        nodes = ", ".join(f"{count} on {node}" for node, count in sorted(done.items()))
        log(f"{param}: ray: {done.total()} pieces ({nodes})")


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
        yield from (result for _, result in on_ray(function, items, (), "launch.cleaning.runner", workers, retry))
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
        with ProcessPoolExecutor(workers, get_context(method), end_with, (os.getpid(),)) as pool:
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
