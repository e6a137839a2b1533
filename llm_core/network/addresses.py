"""Which addresses may be asked: what came over the network must not reach into this machine or its own network.

A list of addresses, or a redirect, that a stranger's server sent could name `file:///etc/passwd`, a service on
loopback, or the metadata service of a cloud (169.254.169.254). So a remote list names addresses on the web alone, and
neither it nor a redirect leads from a public host to one that is not public.
"""

import ipaddress
import socket
from functools import lru_cache
from urllib.parse import urljoin, urlsplit

from llm_core.errors import UserError
from llm_core.runtime.redaction import redact
from llm_core.runtime.storage import is_remote

LOCAL_NAMES = ("localhost", "local", "internal", "lan", "home.arpa")


def is_web(address: str) -> bool:
    """Whether `address` is an http or https one."""
    return address.lower().startswith(("http://", "https://"))


def is_public(address: str) -> bool:
    """Whether the host of an address is on the public internet, by its name and by what the name resolves to.

    A name that does not resolve here (behind a proxy) counts as public; an address without a host does not.
    """
    try:
        host = (urlsplit(address).hostname or "").rstrip(".")
    except ValueError:
        return False
    return bool(host) and _is_public_host(host)


@lru_cache(maxsize=4096)
def _is_public_host(host: str) -> bool:
    if any(host == name or host.endswith(f".{name}") for name in LOCAL_NAMES):
        return False
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return True
    return all(_is_public_number(str(number)) for number in found)


def _is_public_number(number: str) -> bool:
    address = ipaddress.ip_address(number.partition("%")[0])
    inner = getattr(address, "ipv4_mapped", None) or getattr(address, "sixtofour", None) or address
    return bool(address.is_global and inner.is_global and not inner.is_multicast)


def check_listed(address: str, origin: str, where: str) -> None:
    """Raise UserError for an address of a list that came over the network (`origin`) and may not name it."""
    if not is_remote(origin):
        return
    if not is_web(address):
        raise UserError(f"{where}: a list from the network may name web addresses alone, not {redact(address)}")
    if is_public(origin) and not is_public(address):
        raise UserError(f"{where}: a list from a public host may not name a private one ({redact(address)})")


def check_redirect(origin: str, target: str) -> str:
    """The address that a redirect leads to. Raises UserError where it leaves the web, or the public internet."""
    address = urljoin(origin, target)
    if not is_web(address):
        raise UserError(f"{redact(origin)}: was redirected to {redact(address)}, which is no web address; refused")
    if is_public(origin) and not is_public(address):
        raise UserError(f"{redact(origin)}: was redirected to a private host ({redact(address)}); refused")
    return address
