"""HTTP sessions that trust what the system trusts, and ask only what may be asked, after redirects too.

The certificates of the operating system are used beside those of `certifi` (by `truststore`, as pip does): behind a
company's proxy, whose certificate the system knows, downloads work as installations do.
"""

import socket
import ssl
import sys
from typing import Any
from urllib.parse import urljoin

import requests
import truststore
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, LocationParseError, NameResolutionError, NewConnectionError

from llm_core import __version__
from llm_core.network.addresses import check_redirect, checked_numbers

USER_AGENT = f"llm-core/{__version__} (language-model data pipeline; python-requests/{requests.__version__})"
CERTIFICATE_ADVICE = (
    "if a company proxy signs connections, add its certificate to the system's trust store, or name its file in "
    "SSL_CERT_FILE; else the server is misconfigured or is not the one you mean"
)


class _Pinned(HTTPConnection):
    """A connection to a number that was checked, though certificate and `Host` are those of the name."""

    def _new_conn(self) -> socket.socket:
        name = self._dns_host
        try:
            numbers = checked_numbers(name)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except UnicodeError:
            raise LocationParseError(f"'{name}', label empty or too long") from None
        failure: Exception | None = None
        for number in numbers:
            try:
                self._dns_host = number  # what urllib3 connects to
                return super()._new_conn()
            except (NewConnectionError, ConnectTimeoutError) as error:
                failure = error
            finally:
                self._dns_host = name
        raise failure or NewConnectionError(self, f"{name} has no address")


class _PinnedSecure(_Pinned, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Pinned


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _PinnedSecure


class Checked(HTTPAdapter):
    """An adapter whose connections go to numbers that were checked (`addresses.checked_numbers`).

    A proxy resolves names by itself, and is one that a person configured: connections to it are urllib3's own.
    """

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:
        """Create pools of such connections."""
        super().init_poolmanager(*arguments, **settings)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


class SystemTrust(Checked):
    """The same for https: it trusts the system's certificates, and those of a bundle that requests names."""

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:
        """Create the pools with a context of the system's."""
        super().init_poolmanager(*arguments, **settings, ssl_context=truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def proxy_manager_for(self, proxy: str, **settings: Any) -> Any:
        """The same for connections through a proxy."""
        return super().proxy_manager_for(proxy, **settings, ssl_context=truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


def trust_the_system() -> None:
    """Let every library of this process that makes connections of its own trust the system's certificates.

    truststore replaces the class in `ssl`, urllib3 and requests; botocore, where it has been imported before, has a
    reference of its own, which would then call itself without end.
    """
    truststore.inject_into_ssl()
    if botocore := sys.modules.get("botocore.httpsession"):
        botocore.SSLContext = truststore.SSLContext  # type: ignore[attr-defined]


class Session(requests.Session):
    """A session that refuses redirects to files, to private hosts and away from the web."""

    def __init__(self) -> None:
        super().__init__()
        self.headers["User-Agent"] = USER_AGENT
        self.mount("http://", Checked())
        self.mount("https://", SystemTrust())

    def get_redirect_target(self, response: requests.Response) -> str | None:  # type: ignore[override]
        """Where an answer redirects to, None where it does not. Raises UserError where that may not be asked."""
        target: str | None = super().get_redirect_target(response)
        if target is not None:
            check_redirect(response.url, urljoin(response.url, target))
        return target


def is_certificate_error(error: BaseException) -> bool:
    """Whether a request failed because the server's certificate is not trusted, which no further try mends."""
    return isinstance(error, requests.exceptions.SSLError) and "certificate" in str(error).lower()
