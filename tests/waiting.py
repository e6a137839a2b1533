"""For tests that talk to processes of their own: wait for them, and find them a port."""

import socket
import time
from collections.abc import Callable
from typing import Any


def wait(true: Callable[[], Any], seconds: float = 300, what: str = "") -> Any:
    """The first true answer; an AssertionError after so long."""
    deadline = time.monotonic() + seconds
    while True:
        answer = true()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.3)


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
