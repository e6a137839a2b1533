"""Where pieces are processed: in this process, in processes on this machine, or on a Ray cluster.

All three call the same function on the same pieces and hand the results over in the pieces' order, so that the bytes
written do not depend on the runner. Work under way is bounded: memory does not grow with the input.

Ray runs plain tasks, not Ray Data or daft: the pieces are already cut, the order must be kept, and nothing
is shuffled. The scratch folder must be visible to all nodes.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from llm_core.errors import UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2  # pieces under way for each worker


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

    waiting: deque[Future[Result]] = deque()
    with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= workers * AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run_ray(function: Callable[[Item], Result], items: Sequence[Item], workers: int) -> Iterator[Result]:
    try:
        import ray
    except ImportError:
        raise UserError("cleaning.runner: ray is not installed; `pip install ray`, or set runner: local") from None
    started = not ray.is_initialized()
    if started:  # RAY_ADDRESS names a cluster; without it, one on this machine
        ray.init(num_cpus=workers or None if "RAY_ADDRESS" not in os.environ else None, log_to_driver=False)
    try:
        remote = ray.remote(function)
        ahead = AHEAD * max(int(ray.cluster_resources().get("CPU", 1)), 1)
        waiting: deque[ray.ObjectRef] = deque()
        for item in items:
            waiting.append(remote.remote(item))
            if len(waiting) >= ahead:
                yield ray.get(waiting.popleft())
        while waiting:
            yield ray.get(waiting.popleft())
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    finally:
        if started:
            ray.shutdown()
