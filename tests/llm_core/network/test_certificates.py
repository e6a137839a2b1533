"""An untrusted certificate gives a one-line error at once; one that the system trusts works."""

import pytest

from llm_core.errors import UserError
from llm_core.network.downloads import Client


def test_an_unknown_certificate_is_reported_at_once(secure, network, capfd):
    address, _, asked = secure
    with pytest.raises(UserError, match=r"certificate is not trusted; if a company proxy .* SSL_CERT_FILE"):
        Client(network).get(address)
    assert not asked and "try 2" not in capfd.readouterr().err


def test_a_certificate_of_the_systems_store_is_trusted(secure, network, monkeypatch):
    address, file, _ = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(file))  # where OpenSSL looks for the system's certificates
    assert Client(network).get(address) == b"ok"
