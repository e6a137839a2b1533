"""Requests to the project's own servers on loopback, without the environment's proxy.

`http_proxy` without `no_proxy` is common in companies, and the proxy cannot reach this machine's 127.0.0.1.
"""

import urllib.request
from collections.abc import Mapping
from typing import Any

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def open_directly(request: str | urllib.request.Request, timeout: float) -> Any:
    """`urllib.request.urlopen` without a proxy. Raises OSError where nothing answers."""
    return _DIRECT.open(request, timeout=timeout)


def without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with loopback among the hosts without a proxy, for the servers and their clients."""
    names = next((environment[key] for key in ("no_proxy", "NO_PROXY") if environment.get(key)), "")
    hosts = [*filter(None, names.split(",")), *(host for host in LOOPBACK if host not in names)]
    return {**environment, "no_proxy": ",".join(hosts), "NO_PROXY": ",".join(hosts)}
