"""Ray for the stages that can run on it: joined where RAY_ADDRESS names a cluster, else started on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from llm_core.errors import UserError


@contextmanager
def ray_cluster(param: str, workers: int) -> Iterator[tuple[Any, int]]:
    """The module `ray`, connected, and the cluster's CPUs; what was started here is stopped at the end.

    `param` is the knob that asked for Ray (`launch.cleaning.runner`), `workers` the CPUs of a cluster of one's own
    (0 for all). A UserError raised in a task comes out as itself. Raises UserError when ray is not installed.
    """
    try:
        import ray
    except ImportError:
        raise UserError(f"{param}: ray is not installed; `pip install ray`, or set runner: local") from None
    started = not ray.is_initialized()
    if started:
        ray.init(num_cpus=workers or None if "RAY_ADDRESS" not in os.environ else None, log_to_driver=False)
    try:
        yield ray, max(int(ray.cluster_resources().get("CPU", 1)), 1)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    finally:
        if started:
            ray.shutdown()
