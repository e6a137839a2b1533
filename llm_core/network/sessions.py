"""HTTP sessions that trust what the system trusts, and follow only redirects that may be followed.

The certificates of the operating system are used beside those of `certifi` (by `truststore`, as pip does): behind a
company's proxy, whose certificate the system knows, downloads work as installations do.
"""

import ssl
from typing import Any
from urllib.parse import urljoin

import requests
import truststore
from requests.adapters import HTTPAdapter

from llm_core import __version__
from llm_core.network.addresses import check_redirect

USER_AGENT = f"llm-core/{__version__} (language-model data pipeline; python-requests/{requests.__version__})"
CERTIFICATE_ADVICE = (
    "if a company proxy signs connections, add its certificate to the system's trust store, or name its file in "
    "SSL_CERT_FILE; else the server is misconfigured or is not the one you mean"
)


class SystemTrust(HTTPAdapter):
    """An adapter whose connections trust the system's certificates, and those of a bundle that requests names."""

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:
        """Create the pools with a context of the system's."""
        super().init_poolmanager(*arguments, **settings, ssl_context=truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def proxy_manager_for(self, proxy: str, **settings: Any) -> Any:
        """The same for connections through a proxy."""
        return super().proxy_manager_for(proxy, **settings, ssl_context=truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT))


class Session(requests.Session):
    """A session that refuses redirects to files, to private hosts and away from the web."""

    def __init__(self) -> None:
        super().__init__()
        self.headers["User-Agent"] = USER_AGENT
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
