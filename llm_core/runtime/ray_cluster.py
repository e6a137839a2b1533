"""Ray for the stages that can run on it: joined where RAY_ADDRESS names a cluster, else started on this machine.

Ray's token authentication is on (Ray 2.52 and later): who reaches a cluster's ports without the token can run nothing.
A cluster that is started here has a token of its own; one that is joined has the token of whoever started it, from
RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token. RAY_AUTH_MODE=disabled turns it off.
"""

import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from llm_core.errors import UserError

Result = TypeVar("Result")


@contextmanager
def ray_cluster(param: str, workers: int) -> Iterator[tuple[Any, int]]:
    """The module `ray`, connected, and the cluster's CPUs; what was started here is stopped at the end.

    Connecting and the start of workers take seconds, so a stage that uses Ray several times holds one block around
    them; inner blocks use its connection.

    `param` is the knob that asked for Ray (`launch.cleaning.runner`), `workers` the CPUs of a cluster of one's own
    (0 for all). A UserError raised in a task comes out as itself. Raises UserError when ray is not installed, or the
    cluster at RAY_ADDRESS cannot be joined.
    """
    if "ray" not in sys.modules:  # it reads the mode when it is imported
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        import ray
    except ImportError:
        raise UserError(f"{param}: ray is not installed; `pip install ray`, or set runner: local") from None
    started = not ray.is_initialized()
    if started:
        address = os.environ.get("RAY_ADDRESS")
        try:
            ray.init(num_cpus=None if address else workers or None, log_to_driver=False, logging_level="warning")
        except (ConnectionError, ray.exceptions.AuthenticationError, RuntimeError) as error:
            why = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"{param}: no Ray at {address or 'this machine'}: {why}") from None
    try:
        yield ray, max(int(ray.cluster_resources().get("CPU", 1)), 1)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise error.cause from None
        raise
    finally:
        if started:
            ray.shutdown()


def in_folder(folder: str, function: Callable[..., Result], *arguments: Any) -> tuple[str, Result]:
    """Call `function` in the working folder of who asked for it, as relative paths mean it. This is what a task runs.

    (address of the node, what the function returned). Raises UserError where this node does not see the folder.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise UserError(
            f"{folder}: not visible on the node {platform.node()} ({error.strerror}); mount it under the same path on "
            "every node of the Ray cluster"
        ) from None
    import ray

    return str(ray.util.get_node_ip_address()), function(*arguments)
