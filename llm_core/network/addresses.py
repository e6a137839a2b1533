"""Which addresses may be asked: what came over the network must not reach into this machine or its own network.

A list of addresses, or a redirect, that a stranger's server sent could name `file:///etc/passwd`, a service on
loopback, or the metadata service of a cloud (169.254.169.254). So a remote list names addresses on the web alone, and
neither it nor a redirect leads from a public host to one that is not public.

A name server may give a public number when the address is checked and a private one when it is asked (DNS rebinding).
So the number is checked again where the connection is made (`sessions`): a name that was once judged to be public is
asked at public numbers alone, for as long as the process lives.
"""

import ipaddress
import socket
from urllib.parse import urljoin

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from llm_core.errors import UserError
from llm_core.formats.urls import host_of
from llm_core.runtime.redaction import redact
from llm_core.runtime.storage import is_remote

_PUBLIC: set[str] = set()
"""hosts that were judged to be public"""
LOCAL_NAMES = ("localhost", "local", "internal", "lan", "home.arpa")


def is_web(address: str) -> bool:
    """Whether `address` is an http or https one."""
    return address.lower().startswith(("http://", "https://"))


def is_public(address: str) -> bool:
    """Whether the host of an address is on the public internet, by its name and by what the name resolves to.

    A name that does not resolve here (behind a proxy) counts as public; an address without a host does not.
    """
    try:
        host = host_of(parse_url(address).host or "")  # the parser that decides where the connection goes
    except LocationParseError:
        return False
    if not host or any(host == name or host.endswith(f".{name}") for name in LOCAL_NAMES):
        return False
    if host not in _PUBLIC:
        try:
            found = numbers_of(host)
        except (OSError, UnicodeError):
            return True
        if not all(map(_is_public_number, found)):
            return False
        _PUBLIC.add(host)
    return True


def numbers_of(host: str) -> list[str]:
    """The numeric addresses of a host, as the name server gives them now. Raises OSError, UnicodeError."""
    entries = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in entries))


def checked_numbers(host: str) -> list[str]:
    """The numeric addresses at which a host may be asked now.

    What was never judged is what a person configured, and may be private. Raises OSError and UnicodeError where the
    name cannot be resolved, UserError where it was public before.
    """
    found = numbers_of(host)
    private = [number for number in found if not _is_public_number(number)]
    if private and host_of(host) in _PUBLIC:
        raise UserError(f"{host}: was a public host before and is a private one now ({private[0]}); refused")
    return found


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
