"""The address of a document in one spelling: the host and the page that it names, however it is written.

A person who asks for a removal, a list of blocked hosts and a crawl spell the same address in different ways:
`HTTP://user@Example.ORG.:80/`, `http:/example.org`, `//example.org`, backslashes, `ex%61mple.org`, and a name in its
own letters or as `xn--…`. What a browser would ask is decided by `ada_url`, which follows the WHATWG URL standard
(https://url.spec.whatwg.org). On top of it, and stated here once: a trailing dot, user, port 80 or 443, and a leading
`*.` count for nothing; `https` is `http`; the fragment is not part of a page's address (RFC 3986, 6.2.2 for the rest).
"""

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from ada_url import URL

from llm_core.runtime.redaction import redact_page

BROWSED = ("http", "https", "ftp", "ws", "wss")
"""schemes after which a browser takes any number of slashes, of either direction, for two"""
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?:[/\\]{2})")
BROWSED_SCHEME = re.compile(rf"({'|'.join(BROWSED)}):", re.I)
SLASHES = re.compile(r"[/\\]{2}")
AUTHORITY = re.compile(r"[/\\]*([^/\\?#]*)(.*)", re.S)
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
PORT = re.compile(r":\d*$")
ESCAPE = re.compile(r"(%[0-9A-Fa-f]{2})")
UNRESERVED = re.compile(
    r"%(?:2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9Aa]|5[Ff]|6[1-9A-Fa-f]|7[0-9AaEe])"
)  # A-Z a-z 0-9 - . _ ~
KEPT_AS_WRITTEN = "/?:@!$&'()*+,;=-._~[]|"
PLAIN = re.compile(rf"[A-Za-z0-9{re.escape(KEPT_AS_WRITTEN)}]*")
DEFAULT_PORTS = ("", "80", "443")
IGNORED = re.compile(r"[\t\r\n]+")  # as browsers do
MAX_AUTHORITY = 2048  # characters; a host has at most 253, and punycode takes quadratic time
MAX_HOST = 253  # characters of a name in the DNS (RFC 1035)
REMEMBERED = 1 << 14  # hosts; a crawl has many pages of each


class Address(NamedTuple):
    """An address in parts, in the one spelling. `host` is in ASCII and may be empty; `query` is without `?`."""

    scheme: str
    host: str
    port: str
    path: str
    query: str


def parse(text: str) -> Address:
    """The parts of an address; without a scheme, what is before the first slash is taken for the host."""
    scheme, authority, below = _divided(text)
    host, port = _host_and_port(authority, scheme if scheme in BROWSED else "http")
    path, _, query = below.partition("#")[0].partition("?")
    if scheme in BROWSED:
        path = path.replace("\\", "/")
    return Address(scheme, host, port, _without_dots(_escaped(path)), _escaped(query))


def _divided(text: str) -> tuple[str, str, str]:
    """Scheme, authority (user, host and port) and the rest of an address as it is written."""
    text = IGNORED.sub("", text.strip())
    begin = BROWSED_SCHEME.match(text) or SCHEME.match(text)
    rest = AUTHORITY.match(text, begin.end() if begin else 0)
    assert rest  # it matches any text
    return begin[1].lower() if begin else "http", rest[1], rest[2]


@lru_cache(maxsize=REMEMBERED)
def _host_and_port(authority: str, scheme: str) -> tuple[str, str]:
    """Host and port of what is between `//` and the path; what is no host to the standard is kept, in lower case."""
    written_as = () if len(authority) > MAX_AUTHORITY else (authority, PORT.sub("", authority))
    for written in dict.fromkeys(written_as):  # a port that is none hides no host
        try:
            url = URL(f"{scheme}://{written}/")
        except (ValueError, UnicodeError):
            continue
        return _plain_host(url.hostname), url.port
    return _plain_host(PORT.sub("", authority.rpartition("@")[2])), ""


def host_of(address: str) -> str:
    """The host of a URL, or of a domain as people write it, in lower case and in ASCII; "" where there is none."""
    scheme, authority, _ = _divided(address)
    return _host_and_port(authority, scheme if scheme in BROWSED else "http")[0]


def place_of(address: Address) -> str:
    """Path and query of an address."""
    return f"{address.path}?{address.query}" if address.query else address.path


def domains_above(host: str) -> list[str]:
    """A host, and every domain above it, nearest first; [] where there is none."""
    if not host:
        return []
    near = host if len(host) <= MAX_HOST else host[-MAX_HOST:].partition(".")[2]  # no longer one has a name in the DNS
    parts = near.split(".")
    return list(dict.fromkeys([host, *(".".join(parts[start:]) for start in range(len(parts)))]))


def domains_of(host: str) -> list[str]:
    """The names by which a host can be asked for: itself, every domain above it, and itself with `www.`.

    So `example.org` names a.example.org and www.example.org too, and `www.example.org` names example.org, since both
    are the same site, but not a.example.org.
    """
    return domains_above(host) + ([f"www.{host}"] if host else [])


def plain_url(url: str) -> str:
    """An address without what does not tell pages apart; see the module. A text without scheme or `//` is kept."""
    text = redact_page(url.strip())  # as documents have it
    found = parse(text) if SCHEME.match(text) or BROWSED_SCHEME.match(text) or SLASHES.match(text) else None
    if not found or not found.host:
        return text.partition("#")[0]
    scheme = "http" if found.scheme == "https" else found.scheme
    port = "" if found.port in DEFAULT_PORTS else f":{found.port}"
    place = place_of(found._replace(path=found.path.rstrip("/")))
    return f"{scheme}://{found.host}{port}{place}"


def _plain_host(host: str) -> str:
    return CONTROL.sub("", host).lstrip("*.").rstrip(".").lower()


def _escaped(part: str) -> str:
    """Part of an address with every character that needs it as %XX (of its UTF-8 bytes, upper case), and no other."""
    if PLAIN.fullmatch(part):
        return part
    return "".join(
        piece.upper() if ESCAPE.fullmatch(piece) else quote(piece, safe=KEPT_AS_WRITTEN, errors="surrogatepass")
        for piece in ESCAPE.split(UNRESERVED.sub(lambda found: unquote(found[0]), part))
    )


def _without_dots(path: str) -> str:
    if "/." not in path:
        return path
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[max(len(kept) - 1, 1) :]
        elif segment != ".":
            kept.append(segment)
    return "/".join(kept)
